# SPDX-License-Identifier: Apache-2.0
"""`fastgan train --gpus 2 --on-collapse`: two processes and a collapse that both of them have."""

import json
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import test_train_launch as launched

# Python imports sitecustomize when it starts. In the processes that train, not in the launcher:
# G's weights are zero from step 12 on, until the run went back; looks at each second step see that
# samples are alike then; what happened is written down at the end.
PLANT = """
import dataclasses, json, os
if "RANK" in os.environ:
    import torch
    from fastgan.training.distributed.fingerprint import fingerprint
    from fastgan.training.distributed.replica import shared_tensors
    from fastgan.training.loop import faults, loop
    from fastgan.training.step.health import readings, watch

    went_back, step, train = [], loop.train_step, loop.train
    go_back, read = faults.FaultGuard.go_back, readings.Probe.read

    def collapsing_step(state, batch):
        step(state, batch)
        if state.step >= 12 and state.faults.stream == 0:
            with torch.no_grad():
                for p in state.G.parameters():
                    p.zero_()

    def noted_go_back(self, reason):
        before = self.state.step
        go_back(self, reason)
        went_back.append([before, self.state.step])

    def lively_unless_zero(self, batch):
        is_zero = not any(bool(p.any()) for p in self._state.G.parameters())
        return dataclasses.replace(read(self, batch), diversity=0.0 if is_zero else 0.9)

    def noted_train(*arguments, **options):
        state = train(*arguments, **options)
        tensors = {n: int(fingerprint(t)) for n, t in sorted(shared_tensors(state).items())}
        found = {"went_back": went_back, "step": state.step, "reason": state.reason,
                 "faults": state.faults.to_dict(), "tensors": tensors}
        with open(f"rank-{os.environ['RANK']}.json", "w") as file:
            json.dump(found, file)
        return state

    watch.LOOK_EVERY = 2
    loop.train_step, loop.train = collapsing_step, noted_train
    faults.FaultGuard.go_back, readings.Probe.read = noted_go_back, lively_unless_zero
"""
# ticks, after which a run goes back: 0.024, 0.08 and 0.16 kimg, which are 3, 10 and 20 steps
RUN = [*launched.FAST, "--gpus", 2, "--kimg", 0.16, "--tick", 0.08, "--max-restarts", 0]


def collapsed(folder, images, policy, code):
    """(the output, what each rank wrote down)."""
    (folder / "plant").mkdir()
    (folder / "plant" / "sitecustomize.py").write_text(PLANT)
    path = os.pathsep.join([str(folder / "plant"), os.environ.get("PYTHONPATH", "")])
    flags = ["--data", images, *RUN, "--on-collapse", policy]
    process = launched.fastgan(
        folder, *flags, PYTHONPATH=path.rstrip(os.pathsep), FASTGAN_RANK_TIMEOUT="60"
    )
    output = launched.finish(process, code)
    ranks = [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(2)]
    assert len(ranks[0]["tensors"]) > 20
    assert ranks[0] == ranks[1] | {"reason": ranks[0]["reason"]}, "they are in one state"
    return output, ranks


@pytest.mark.slow
def test_both_ranks_go_back_once_to_the_same_step(tmp_path, images):
    output, ranks = collapsed(tmp_path, images, "rollback", 0)
    # the look before step 15 is the second one that sees it; its wish is heard a step later
    assert [rank["went_back"] for rank in ranks] == [[[16, 10]]] * 2
    assert ranks[0]["faults"]["stream"] == ranks[0]["faults"]["rollbacks"] == 1
    assert ranks[0]["step"] == 20
    assert output.count("ALARM rollback") == 1
    assert [rank["reason"] for rank in ranks] == ["finished"] * 2


@pytest.mark.slow
def test_both_ranks_stop_at_the_same_step(tmp_path, images):
    output, ranks = collapsed(tmp_path, images, "stop", 4)
    assert [rank["went_back"] for rank in ranks] == [[]] * 2
    assert ranks[0]["step"] == 16
    assert ranks[0]["reason"] == "unhealthy"
    assert "stopped at 0.1 kimg by --on-collapse" in " ".join(output.split())
    run_dir = launched.only_run(tmp_path)
    assert launched.newest(run_dir)["counters"]["step"] == 16
    assert json.loads((run_dir / "launch.json").read_text())["ended"] == "unhealthy"
