# SPDX-License-Identifier: Apache-2.0
"""Ranks as threads on one store that still holds what the dead of an earlier start wrote."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch.distributed as dist

from fastgan.training.distributed.rendezvous import RankError, fresh_store


def start(store, size):
    with ThreadPoolExecutor(size) as pool:
        jobs = [pool.submit(fresh_store, store, r, size, limit_sec=60) for r in range(size)]
        return [job.result() for job in jobs]


def test_every_start_has_a_place_of_its_own():
    store, size = dist.HashStore(), 4
    for number in range(3):
        stores = start(store, size)
        assert not stores[0].check(["address"])
        stores[0].set("address", str(number))
        assert [s.get("address") for s in stores] == [str(number).encode()] * size


def test_what_the_dead_asked_and_heard_does_not_count():
    store = dist.HashStore()
    start(store, 2)
    with pytest.raises(RankError, match="rank 1 was started but did not arrive"):
        fresh_store(store, 0, 2, limit_sec=0.1)
    with pytest.raises(RankError, match="rank 0 was started"):
        fresh_store(store, 1, 2, limit_sec=0.1)
