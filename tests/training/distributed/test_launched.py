# SPDX-License-Identifier: Apache-2.0
import pytest

from fastgan.training.distributed.launched import RankInfo, rank_info
from fastgan.training.distributed.ranks import join
from fastgan.training.distributed.rendezvous import RankError


def test_place(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    assert rank_info() is None
    with join("cpu") as ranks:
        assert ranks is None
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "8")
    with pytest.raises(RankError, match="LOCAL_RANK, MASTER_ADDR, MASTER_PORT not"):
        rank_info()
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setenv("MASTER_PORT", "1")
    assert rank_info() == RankInfo(rank=3, world_size=8, local_rank=1)
