# SPDX-License-Identifier: Apache-2.0
"""Steps: a wrong phase gets words and no number, sums follow the schedule, bytes are counted."""

import dataclasses
import mmap

import pytest
import torch
from torch import nn

from fastgan.bench import case_files, network_cases
from fastgan.bench.measure import memory_use, step_rows
from fastgan.bench.measure.timer import Protocol
from fastgan.bench.recipe_case import recipe_case, schedule
from fastgan.bench.report import step_table
from fastgan.bench.step_case import STEP, StepCase, StepVariant, data_generator
from fastgan.bench.steps import penalty_methods
from fastgan.bench.variants import compile_parts, uncompiled
from fastgan.models import mlp, stylegan2
from fastgan.training.config.recipes.images.stylegan2_small import recipe

BRIEF = Protocol(rounds=2, sample_seconds=1e-4)
N = 6


def _build(
    wrong: float = 0.0, seeds: tuple[int, ...] = (1, 2, 3), absent: bool = False
) -> StepVariant:
    weight = torch.ones(N, dtype=torch.get_default_dtype(), requires_grad=True)

    def main():
        z = torch.randn(N)
        (grad,) = torch.autograd.grad((weight * z).square().sum(), weight)
        is_wrong = torch.initial_seed() in seeds
        return {"weight": grad * (1 + wrong) if is_wrong else grad}

    phases = {"D": main, "G": dict}
    if absent:
        del phases["G"]
    return StepVariant(phases, {"G": "it has none"} if absent else {})


def _case(**changes) -> StepCase:
    variants = {"native": _build, "reference": _build} | changes.pop("variants", {})
    options = {"name": "toy", "variants": variants, "schedule": {"D": 1.0, "G": 0.25}}
    return StepCase(**(options | changes))


def _rows(case: StepCase) -> dict[str, step_rows.StepRow]:
    return {row.phase: row for row in step_rows.run_step_case(case, BRIEF)}


def test_a_wrong_variant_gets_words_and_no_number():
    rows = _rows(_case(variants={"planted": lambda: _build(0.002)}))

    assert set(rows["D"].failures) == {"planted"}
    assert "weight is off by 0.002 of its norm, allowed is 0.001" in rows["D"].failures["planted"]
    assert set(rows["D"].seconds) == {"native", "reference"}
    assert set(rows["G"].seconds) == {"native", "reference", "planted"}
    assert set(rows[STEP].seconds) == {"native", "reference"}
    data = [step_table.row_json(row) for row in rows.values()]
    assert "planted" not in data[0]["variants"]
    assert "WRONG, not measured: D planted: weight is off" in step_table.table(data)


def test_a_variant_that_is_wrong_in_every_phase_gets_words():
    planted = {"planted": lambda: StepVariant({"D": _build(0.002).phases["D"]})}
    (row,) = step_rows.run_step_case(_case(variants=planted, schedule={"D": 1.0}), BRIEF)

    assert set(row.failures) == {"planted"}
    assert set(row.peak_bytes) == {"native", "reference"}


def test_wrong_is_what_is_wrong_with_every_draw():
    """A unit's sign that flips in one draw is rounding; a bug is there in all three."""
    case = _case(variants={"flip": lambda: _build(1.0, seeds=(1, 2))})
    assert step_rows.find_wrong(case, "D", ["flip"]) == {}
    assert set(step_rows.find_wrong(_case(variants={"bug": lambda: _build(1.0)}), "D", ["bug"]))


def test_sixteen_bits_may_err_twice_as_much_as_their_reference():
    variants = {"reference bf16": lambda: _build(0.2), "bf16": lambda: _build(0.39)}
    options = {"tolerances": {"reference bf16": 0.5}, "twice": {"bf16": "reference bf16"}}
    case = _case(variants=variants, **options)
    assert step_rows.find_wrong(case, "D", ["bf16", "reference bf16"]) == {}
    case = _case(variants=variants | {"bf16": lambda: _build(0.41)}, **options)
    assert "allowed is 0.4" in step_rows.find_wrong(case, "D", ["bf16"])["bf16"]
    with pytest.raises(ValueError, match="'no such'"):
        _case(twice={"native": "no such"})


@pytest.mark.parametrize("spoil", ["missing", "nan", "shape"])
def test_results_that_hide_from_a_difference_are_wrong(spoil):
    bad = {"missing": {}, "nan": {"weight": torch.full([N], torch.nan)}}
    bad["shape"] = {"weight": torch.ones(N + 1)}
    case = _case(variants={"bad": lambda: StepVariant({"D": lambda: bad[spoil], "G": dict})})
    assert "weight" in step_rows.find_wrong(case, "D", ["bad"])["bad"]


def test_the_exact_step_is_in_float64_with_the_draws_of_float32():
    seen = []

    def exact():
        def main():
            z = torch.randn(N)
            seen.append(z)
            return {"weight": 2 * z.square()}

        return StepVariant({"D": main, "G": dict})

    assert step_rows.find_wrong(_case(exact=exact), "D", ["native"]) == {}
    torch.manual_seed(1)
    assert seen[0].dtype == torch.float64
    assert torch.equal(seen[0], torch.randn(N).double())


@pytest.mark.parametrize("flips", [1, 3])
def test_every_draw_of_a_check_has_data_of_its_own(flips):
    """R1 draws nothing: without other samples a sign that flips would flip in all three draws."""
    seen = []

    def build(factor=1.0):
        x = torch.randn(N, generator=data_generator())
        seen.append(x)
        return StepVariant({"D": lambda: {"weight": x * factor}, "G": dict})

    def flipped():
        return build(1.5 if len({tuple(x.tolist()) for x in seen}) <= flips else 1.0)

    case = _case(variants={"reference": build, "flipped": flipped})
    wrong = step_rows.find_wrong(case, "D", ["flipped"])
    assert bool(wrong) == (flips == 3)
    assert len({tuple(x.tolist()) for x in seen}) == (2 if flips == 1 else 3)


def test_a_phase_that_is_absent_says_why_and_has_no_sum():
    rows = _rows(_case(variants={"half": lambda: _build(absent=True)}))
    data = [step_table.row_json(row) for row in rows.values()]

    assert rows["G"].absent == {"half": "it has none"}
    assert "half" in rows["D"].seconds
    assert "half" not in rows[STEP].seconds
    assert "-: half: it has none" in step_table.table(data)


def test_the_sum_weighs_phases_within_a_round(monkeypatch):
    fake = {("D", "native"): [1.0, 2.0], ("G", "native"): [4.0, 8.0]}
    fake |= {("D", "reference"): [2.0, 2.0], ("G", "reference"): [8.0, 8.0]}
    monkeypatch.setattr(step_rows, "measure", lambda calls, p: step_rows.Samples(fake))
    total = _rows(_case())[STEP]

    assert total.seconds == {"native": [2.0, 4.0], "reference": [4.0, 4.0]}
    assert total.ratio("reference", "native") == 1.5


def test_a_case_that_cannot_be_checked_or_summed_is_refused():
    with pytest.raises(ValueError, match="no variant 'reference' to check against"):
        StepCase(name="x", variants={"native": _build}, schedule={"D": 1.0})
    with pytest.raises(ValueError, match="schedule must map"):
        _case(schedule={"D": 0.0})
    with pytest.raises(ValueError, match="'nativ', which is no variant"):
        _case(ratios=[("reference", "nativ")])


def test_peak_bytes_are_those_of_live_tensors():
    """4 MiB of weight, 4 of the last result, and of the call's own three 4 and 4 at once; another
    call meets what this one left, and leaves nothing."""

    def build():
        weight = torch.ones(2**20)
        kept = []

        def call():
            a = weight + 1
            b = a * 2
            del a
            kept[:] = [b + 1]
            return b

        return {"idle": lambda: None, "work": call, "look": lambda: (weight + 1).sum()}

    peaks = memory_use.peak_live_bytes(build)
    expected = {"idle": 8, "work": 16, "look": 12}  # MiB
    assert peaks.keys() == expected.keys()
    for name, mib in expected.items():
        assert 0 <= peaks[name] - mib * 2**20 < 100, name  # the numbers added, as tensors


def test_page_faults_are_counted_per_call():
    def touch():
        with mmap.mmap(-1, 4096 * mmap.PAGESIZE) as pages:
            for i in range(0, len(pages), mmap.PAGESIZE):
                pages[i] = 1

    assert 4096 <= memory_use.page_faults(touch, calls=3) < 5000
    assert memory_use.page_faults(lambda: None, calls=100) < 1


def test_the_schedule_is_one_period_of_lazy_regularisation():
    config = recipe(resolution=(8, 8), batch=2, pl_weight=2.0, g_reg_interval=4)
    assert schedule(config) == {
        "D": 1.0,
        "D penalty": 1 / 16,
        "G": 1.0,
        "G path length": 1 / 4,
        "EMA": 1.0,
    }


def test_a_recipe_s_step_is_right_in_every_phase():
    config = recipe(
        resolution=(8, 8),
        batch=4,
        pl_weight=2.0,
        g_reg_interval=4,
        model={"z_dim": 8, "w_dim": 8, "channel_base": 64, "channel_max": 8},
    )
    case = step_rows.without_compile(recipe_case("tiny", config))
    for phase in case.schedule:
        assert step_rows.find_wrong(case, phase, case.variants) == {}


def test_networks_are_right_and_a_planted_gradient_is_seen(monkeypatch):
    config = mlp.Config(z_dim=4, img_height=4, img_width=4, g_hidden=(8,), d_hidden=(8,))
    case = step_rows.without_compile(
        network_cases.gan_case("tiny", "mlp", config, batch=3),
    )
    for phase in network_cases.GAN_PHASES:
        assert step_rows.find_wrong(case, phase, case.variants) == {}

    right = network_cases._gradients
    monkeypatch.setattr(
        network_cases,
        "_gradients",
        lambda network, loss: {
            name: g * (1.01 if g.dtype == torch.float32 else 1)
            for name, g in right(network, loss).items()
        },
    )
    for phase in ("G forward+backward", "D forward+backward", "D double"):
        assert set(step_rows.find_wrong(case, phase, case.variants)) == {"native", "reference"}


def test_a_module_alone_is_right_in_both_passes_and_other_weights_are_seen():
    def make():
        return nn.Linear(3, 4)

    def made_differently():
        network = make()
        with torch.no_grad():
            network.weight.mul_(1.01)
        return network

    right, wrong = (
        step_rows.without_compile(network_cases.module_case("tiny", module, (2, 3)))
        for module in (make, made_differently)
    )
    mixed = dataclasses.replace(
        right, variants=right.variants | {"native": wrong.variants["native"]}
    )
    for phase in network_cases.MODULE_PHASES:
        assert step_rows.find_wrong(right, phase, right.variants) == {}
        assert set(step_rows.find_wrong(mixed, phase, mixed.variants)) == {"native"}


def test_penalty_methods_are_right_and_a_planted_one_is_seen(monkeypatch):
    cases = case_files.load_cases("steps", ["penalty_methods"])
    case = next(c for c in cases if "1 linear layers of 16, batch 4" in c.name)
    for phase in case.schedule:
        assert step_rows.find_wrong(case, phase, case.variants) == {}

    right = penalty_methods.logits_and_penalty

    def planted(D, x, *, method):
        y, penalty = right(D, x, method=method)
        return y, penalty * (1.02 if method == "linearised" else 1)

    monkeypatch.setattr(penalty_methods, "logits_and_penalty", planted)
    wrong = step_rows.find_wrong(case, penalty_methods.WHOLE, case.variants)
    assert set(wrong) == {"linearised"}


def test_without_compile_drops_what_names_it():
    case = _case(
        variants={"best compile": _build},
        ratios=[("best compile", "native"), ("reference", "native")],
        tolerances={"best compile": 0.1},
    )
    quick = step_rows.without_compile(case)
    assert set(quick.variants) == {"native", "reference"}
    assert quick.pairs == [("reference", "native")]


def test_compiled_parts_keep_names_and_can_be_run_uncompiled():
    network = nn.Sequential(nn.Linear(2, 2))
    names = list(network.state_dict())
    compile_parts(network)

    assert list(network.state_dict()) == names
    assert network._compiled_call_impl is not None
    with uncompiled(network):
        assert network._compiled_call_impl is None
    assert network._compiled_call_impl is not None


@pytest.mark.parametrize("kind", ["models", "steps"])
def test_every_file_has_quick_and_named_cases(kind):
    assert case_files.case_files(kind)
    for name in case_files.case_files(kind):
        cases = case_files.load_cases(kind, [name])
        assert cases
        assert len({case.name for case in cases}) == len(cases)
    assert case_files.load_cases(kind, is_quick=True)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_compile_sees_plain_torch_draws_the_same_and_is_right():
    config = stylegan2.Config(
        img_height=8, img_width=8, z_dim=4, w_dim=4, channel_base=32, channel_max=4,
        mapping_layers=1,
    )  # fmt: skip
    case = network_cases.gan_case("tiny", "stylegan2", config, batch=2)
    for phase in network_cases.GAN_PHASES:
        assert step_rows.find_wrong(case, phase, ["compile"]) == {}
