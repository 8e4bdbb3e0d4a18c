# SPDX-License-Identifier: Apache-2.0
import copy
import dataclasses
import math

import pytest
import torch

from fastgan.metrics import NAMES, Evaluator, MetricResult, compute

pytestmark = pytest.mark.usefixtures("metrics_extra")


def sampler(pictures, seed=1):
    """The same kind of pictures as float in [-1, 1], each call continuing where the last ended."""
    x = torch.from_numpy(pictures(500, seed).x).float() / 127.5 - 1
    position = 0

    def sample(n):
        nonlocal position
        position += n
        return x[position - n : position]

    return sample


def test_records_name_everything_a_value_depends_on(tiny, pictures):
    evaluator = Evaluator(pictures(60), num_real=50, batch=16, extractor=tiny)
    results = evaluator.evaluate(NAMES, sampler(pictures), 40)
    assert tuple(results) == NAMES
    for name, result in results.items():
        assert dataclasses.asdict(result) == {
            "name": name, "value": result.value, "num_real": 50, "num_fake": 40,
            "extractor": "tiny", "resize": "none", "seed": 0, "data": "",
            "interval": result.interval,
            "interval_method": "95 %, 20 random halves of the generated and the real samples",
        }  # fmt: skip
        assert isinstance(result, MetricResult)
        assert isinstance(result.value, float)
        assert math.isfinite(result.value)


def test_reals_are_extracted_once(tiny, pictures):
    evaluator = Evaluator(pictures(30), batch=7, extractor=tiny)
    evaluator.evaluate(["precision_lite0"], sampler(pictures), 20)
    assert tiny.num_images == 30 + 20
    evaluator.evaluate(["recall_lite0"], sampler(pictures), 20)
    assert tiny.num_images == 30 + 20 + 20


def test_equal_fakes_give_equal_values_whatever_the_batch(tiny, pictures):
    def values(batch):
        evaluator = Evaluator(pictures(80), batch=batch, extractor=tiny)
        results = evaluator.evaluate(NAMES, sampler(pictures), 50)
        return {name: result.value for name, result in results.items()}

    assert values(16) == values(16)
    assert values(16) == pytest.approx(values(50), rel=1e-4, abs=1e-6)


def test_every_metric_sees_the_failure_that_it_is_for(tiny, pictures):
    evaluator = Evaluator(pictures(200), extractor=tiny)
    same = evaluator.evaluate(NAMES, sampler(pictures), 200)
    g = torch.Generator().manual_seed(0)
    noise = evaluator.evaluate(NAMES, lambda n: torch.rand(n, 3, 4, 4, generator=g) * 2 - 1, 200)
    one = torch.from_numpy(pictures(1).x)
    collapsed = evaluator.evaluate(NAMES, lambda n: one.expand(n, -1, -1, -1), 200)
    for name in ("kid_lite0", "fd_lite0"):
        assert same[name].value < min(noise[name].value, collapsed[name].value) / 3
    for name in ("precision_lite0", "density_lite0"):
        assert same[name].value > noise[name].value + 0.3
    for name in ("recall_lite0", "coverage_lite0"):
        assert same[name].value > collapsed[name].value + 0.3


@pytest.mark.parametrize("world_size", [2, 3, 7])
def test_ranks_that_share_the_work_find_the_same_values(tiny, pictures, on_ranks, world_size):
    """Bit for bit, with a last part that is smaller, and with more ranks than parts."""
    fakes = torch.from_numpy(pictures(50, 1).x)
    names = ("kid_lite0", "precision_lite0")

    def values(evaluator):
        results = evaluator.evaluate_parts(names, lambda first, n: fakes[first : first + n], 50)
        return {name: result.value for name, result in results.items()}

    alone = values(Evaluator(pictures(40), num_real=30, batch=10, extractor=tiny))
    extractors = []

    def shared(ranks):
        extractors.append(copy.deepcopy(tiny))
        evaluator = Evaluator(
            pictures(40), num_real=30, batch=10, extractor=extractors[-1], ranks=ranks
        )
        return values(evaluator), values(evaluator)

    tiny.num_images = 0
    found = on_ranks(world_size, shared)
    assert found == [(alone, alone)] + [({}, {})] * (world_size - 1)
    assert sum(extractor.num_images for extractor in extractors) == 30 + 2 * 50


def test_values_are_computed_by_one_rank_alone(tiny, pictures, monkeypatch):
    """torchmetrics waits for all ranks where a process group exists, unless it is told not to."""

    def barrier(*args, **kwargs):
        raise AssertionError("a metric waits for other ranks")

    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    for name in ("barrier", "all_gather", "get_world_size"):
        monkeypatch.setattr(f"torch.distributed.{name}", barrier)
    found = Evaluator(pictures(20), extractor=tiny).evaluate(NAMES, sampler(pictures), 20)
    assert all(math.isfinite(result.value) for result in found.values())


def test_bad_arguments_are_named(tiny, pictures):
    evaluator = Evaluator(pictures(20), extractor=tiny)
    with pytest.raises(ValueError, match=r"no metric 'fid'; the nearest is fd_lite0; choose"):
        evaluator.evaluate(["fid"], sampler(pictures), 20)
    with pytest.raises(ValueError, match=r"no metric 'fid'"):
        compute(["fid"], sampler(pictures), pictures(20), num_images=20)
    with pytest.raises(ValueError, match=r"sample_fn\(20\) returned 3 images"):
        evaluator.evaluate(NAMES, lambda n: torch.zeros(3, 3, 4, 4), 20)
    with pytest.raises(ValueError, match="NaN"):
        evaluator.evaluate(NAMES, lambda n: torch.full((n, 3, 4, 4), torch.nan), 20)
    with pytest.raises(ValueError, match="num_images"):
        evaluator.evaluate(NAMES, sampler(pictures), 0)
    with pytest.raises(ValueError, match="batch"):
        Evaluator(pictures(20), batch=0, extractor=tiny)


@pytest.mark.parametrize(
    ("real", "generated", "names", "least"),
    [
        (1, 20, ["kid_lite0"], 2),
        (20, 1, ["fd_lite0"], 2),
        (20, 5, ["kid_lite0", "recall_lite0"], 6),
    ],
)
def test_too_few_samples_are_refused_before_any_is_made(
    tiny, pictures, real, generated, names, least
):
    def never(n):
        raise AssertionError("a sample was made")

    evaluator = Evaluator(pictures(real), extractor=tiny)
    words = (
        f"at least {least} real and {least} generated samples are needed, got {real} real and "
        f"{generated} generated"
    )
    with pytest.raises(ValueError, match=words):
        evaluator.evaluate(names, never, generated)
