"""The cost model counts what hands count, and the model's phases do what the real ones do."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from benchmarks.scale import __main__ as command
from benchmarks.scale import cpu, phases, tables
from benchmarks.scale.chart import write_charts
from benchmarks.scale.machines import GPU, LINKS, Links, Machine
from benchmarks.scale.phases import Phase, count_phases, model_at
from benchmarks.scale.predict import (
    batch_on,
    exchange_seconds,
    op_seconds,
    predict,
    ring_bytes,
    step_seconds,
)
from benchmarks.scale.work import Counter, Work, fakes, touched_bytes
from fastgan.bench.ops import adam_ema
from fastgan.bench.timer import Protocol
from fastgan.losses.gradient_penalty import r1
from fastgan.ops import bias_act, use_winograd
from fastgan.training.config.recipes.stylegan2 import recipe
from fastgan.training.step import phases as step
from fastgan.training.step.state import Batch, build_state

TINY = cpu.model(8, 4)
README = Path(command.__file__).with_name("README.md")


def count(run, *networks):
    with fakes(*networks), Counter() as counter:
        run()
    return counter.work


def test_one_convolution_by_hand():
    def run():
        torch.conv2d(torch.empty(2, 3, 8, 6), torch.empty(5, 3, 3, 3), padding=1)

    (work,) = count(run)
    assert work.op == "aten::convolution"
    assert work.flops == 2 * (2 * 5 * 8 * 6) * (3 * 3 * 3)
    assert work.moved == 4 * (2 * 3 * 8 * 6 + 5 * 3 * 3 * 3 + 2 * 5 * 8 * 6)


def test_a_product_views_and_dtypes():
    def run():
        x = torch.empty(4, 6, dtype=torch.bfloat16)
        x.t().expand(2, 6, 4)[0].t() @ torch.empty(6, 7, dtype=torch.bfloat16)

    (work,) = count(run)  # of views and allocations nothing is left
    assert (work.op, work.dtype) == ("aten::mm", torch.bfloat16)
    assert (work.flops, work.moved) == (2 * 4 * 6 * 7, 2 * (24 + 42 + 28))


@pytest.mark.parametrize(
    ("t", "elements"),
    [
        (torch.empty(3, 1).expand(3, 5), 3),
        (torch.empty(4, 6)[:, ::2], 12),
        (torch.empty(0, 3), 0),
        (torch.empty(0, 1).expand(0, 5), 0),
    ],
)
def test_bytes_that_are_touched(t, elements):
    assert touched_bytes(t) == 4 * elements


def test_an_op_of_ours_moves_what_its_bench_file_says():
    (case,) = [c for c in bias_act_cases() if c.is_quick and c.shapes[0] == (8, 64, 64, 64)]
    (work,) = count(lambda: bias_act(torch.empty(8, 64, 64, 64), torch.empty(64), clamp=256))
    assert work.op == "fastgan::bias_act"
    assert work.moved == case.floor_bytes("forward") + 4 * 64  # which counts no bias


def bias_act_cases():
    from fastgan.bench.ops.bias_act import cases

    return [c for c in cases() if c.dtype == torch.float32 and "lrelu" in c.name]


class Critic(nn.Module):
    """Two convolutions of a forward cost F1 and F2, leaky ReLU between."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.b = nn.Conv2d(4, 5, 3, padding=1, bias=False)

    def forward(self, x, c=None):
        return self.b(bias_act(self.a(x), act="lrelu")).sum((1, 2, 3))[:, None]


def test_a_critics_step_and_penalty_by_hand():
    """Each gradient of a convolution costs what the convolution costs.

    Step: both forward, both weights, b's input: 2 F1 + 3 F2, and R1's inner pass another F1 + F2
    after a forward pass. Of that the gradient is, of each convolution, that of the weight and that
    of the gradient that came in: 4 F1 + 4 F2 in all.
    """
    F1, F2 = (2 * 2 * 8 * 8 * 9 * o * i for i, o in ((3, 4), (4, 5)))
    D = Critic()
    made = count(lambda: D(torch.empty(2, 3, 8, 8)).mean().backward(), D)
    assert sum(w.flops for w in made) == 2 * F1 + 3 * F2
    D = Critic()
    method = "double_backward"
    made = count(lambda: r1(D, torch.empty(2, 3, 8, 8), None, method=method).mean().backward(), D)
    assert sum(w.flops for w in made) == 4 * F1 + 4 * F2


def test_the_penalty_of_stylegan2_is_six_forward_passes():
    """Four as above; the minibatch's deviation is curved, which sends a gradient all the way back
    through the first pass, for another two."""
    model = cpu.model(16, 32)
    pair = phases.networks(model)
    counted = count_phases(model, 4, pair=pair, penalty_method="double_backward")
    forward = sum(w.flops for w in count(lambda: pair[1](torch.empty(4, 3, 16, 16)), pair[1]))
    assert counted["R1"].flops == pytest.approx(6 * forward, rel=0.05)


def test_flops_are_those_of_the_real_phases():
    config = recipe(resolution=(8, 8), batch=4).with_changes(
        model=TINY, pl_weight=2.0, g_reg_interval=8, style_mixing_prob=phases.MIXING
    )
    state = build_state(config)
    counted = count_phases(TINY, 4, pair=(state.G, state.D))
    real = {
        "D": step.d_step,
        "R1": step.d_penalty_step,
        "G": step.g_step,
        "PL": step.g_penalty_step,
    }
    for name, phase in real.items():
        with use_winograd("0"), Counter() as counter:
            phase(state, Batch(x=torch.zeros(4, 3, 8, 8)))
        assert counted[name].flops == sum(w.flops for w in counter.work) > 0, name


def test_work_grows_with_the_batch_and_ops_do_not():
    pair = phases.networks(TINY)
    small, large = (count_phases(TINY, n, pair=pair, is_optimised=False) for n in (4, 8))
    for name in small:
        assert large[name].flops == pytest.approx(2 * small[name].flops, rel=0.02), name
        assert len(large[name].work) == len(small[name].work), name
    assert small["D"].parameters == sum(p.numel() for p in pair[1].parameters())


def test_the_optimiser_moves_what_its_bench_file_says():
    n = 1_000_000
    case = adam_ema._case(n)
    assert 4 * n * (phases.ADAM + phases.AVERAGE) == case.gpu_bytes("forward")
    pair = phases.networks(TINY)
    with_adam, without = (
        count_phases(TINY, 4, pair=pair, is_optimised=is_on)["G"] for is_on in (True, False)
    )
    assert with_adam.moved - without.moved == 4 * 10 * with_adam.parameters


def test_half_maps_halve_their_bytes_and_keep_their_flops():
    wide = model_at(32, channel_base=256, channel_max=8, z_dim=8, w_dim=8)
    narrow = replace(wide, half_dtype="bfloat16", conv_clamp=256.0)
    a, b = (count_phases(m, 4, is_optimised=False)["D"] for m in (wide, narrow))
    assert a.flops == b.flops
    assert b.moved < a.moved
    assert {w.dtype for w in b.work if w.flops} == {torch.bfloat16, torch.float32}


MACHINE = Machine(
    name="m", flops={torch.float32: 100.0, torch.bfloat16: 200.0}, flops_share=0.5,
    bandwidth=10.0, bandwidth_share=0.5, launch_seconds=0.25,
)  # fmt: skip


def test_an_op_takes_the_longer_of_arithmetic_and_memory():
    assert op_seconds(Work("a", torch.float32, 1000, 50), MACHINE) == 20 + 0.25
    assert op_seconds(Work("a", torch.bfloat16, 1000, 20), MACHINE) == 10 + 0.25
    assert op_seconds(Work("a", torch.bfloat16, 1000, 100), MACHINE) == 20 + 0.25
    assert op_seconds(Work("a", torch.int64, 0, 0), MACHINE) == 0.25


def test_a_ring_by_hand():
    assert ring_bytes(1, 80) == 0
    assert ring_bytes(2, 80) == 80
    assert ring_bytes(8, 80) == 140
    links = Links(
        node=2, inside=10, between=4, share=0.5, inside_seconds=1, between_seconds=7
    )  # fmt: skip
    assert exchange_seconds(1, 80, links) == 0
    assert exchange_seconds(2, 80, links) == 80 / 5 + 2
    assert exchange_seconds(4, 80, links) == 120 / 2 + 6 * 4  # every second hop crosses
    assert exchange_seconds(4, 80, replace(links, between=100)) == 120 / 5 + 6 * 4


def test_a_prediction_by_hand():
    work = Work("a", torch.float32, 0, 5)  # 1.25 s
    made = {"D": Phase(1, (work, work), 10), "R1": Phase(0.5, (work,), 10)}
    links = Links(node=2, inside=10, between=4, share=1, inside_seconds=0, between_seconds=0)
    assert step_seconds(made, MACHINE) == 2.5 + 0.625
    p = predict(made, 2, 8, MACHINE, links)
    assert p.exchange_seconds == 1.5 * 40 / 10
    assert p.seconds_per_kimg == 125 * (3.125 + 6)
    assert p.exchange_share == pytest.approx(6 / 9.125)
    assert predict(made, 1, 8, MACHINE, links).seconds_per_kimg == 125 * 3.125


def test_batches_keep_a_stddev_group_on_each_gpu():
    assert [batch_on(n, 64) for n in (1, 16, 32, 64)] == [64, 64, 128, 256]


def test_a_point_names_what_the_tables_ask_for(monkeypatch):
    monkeypatch.setattr(cpu, "BASE", {"resolution": 8, "batch": 2, "channels": 4})
    point = cpu.measure_point("batch", 4, MACHINE, Protocol(rounds=1, sample_seconds=1e-4))
    assert (point.resolution, point.batch, point.channels) == (8, 4, 4)
    assert point.ratio == point.modelled["step"] / point.measured["step"]
    assert "| batch | 8² | 4 | 4 |" in tables.cpu_table([point])


def test_readme_parts_are_replaced_and_must_be_there(tmp_path):
    path = tmp_path / "README.md"
    begin, end = command.BEGIN.format("x"), command.END.format("x")
    path.write_text(f"before\n{begin}\nold\n{end}\nafter\n")
    command.write_readme(path, {"x": "new"})
    command.write_readme(path, {"x": "new"})
    assert path.read_text() == f"before\n{begin}\n\nnew\n\n{end}\nafter\n"
    with pytest.raises(ValueError, match="lacks <!-- y"):
        command.write_readme(path, {"y": ""})


def test_the_readme_states_the_assumptions_of_the_code():
    assert tables.assumptions() in README.read_text(encoding="utf-8")
    assert tables.VARIATIONS[0][1:] == (GPU, LINKS)


def test_a_chart_is_drawn(tmp_path):
    series = {"a": [(1, 10, ""), (2, 5, "0.5")], "b": [(1, 3, "")]}
    write_charts(tmp_path / "x.png", [("t", "x", series)] * 3, columns=2)
    with Image.open(tmp_path / "x.png") as image:
        assert image.size == (4 * 330, 4 * 300)
        assert len(image.getcolors(1 << 20)) > 10


@pytest.mark.slow
def test_the_readme_has_the_predictions_of_the_code(tmp_path):
    text = README.read_text(encoding="utf-8")
    _, counts = command.count_all()
    assert tables.prediction_table(command.predict_all(counts)) in text
