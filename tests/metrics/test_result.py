# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from fastgan.metrics import Evaluator, MetricResult, PartEvaluator
from fastgan.metrics.result import intervals

KEYS = {
    "metric", "results", "interval", "interval_method", "num_fake", "num_real", "extractor",
    "resize", "seed", "data", "truncation_psi", "truncation_cutoff", "label", "kimg",
    "checkpoint", "computed_by",
}  # fmt: skip


def test_a_record_has_one_set_of_keys():
    settings = {"num_real": 4, "num_fake": 5, "extractor": "net", "resize": "none"}
    plain = MetricResult(name="m", value=1.0, **settings)
    with_interval = MetricResult(
        name="m", value=1.0, interval=(0.5, 2.0), interval_method="halves", **settings
    )
    options = {"kimg": 3.0, "checkpoint": "c", "computed_by": "train"}
    assert plain.record(**options).keys() == with_interval.record(**options).keys() == KEYS
    assert plain.record(**options)["interval"] is None
    assert with_interval.record(**options)["interval"] == [0.5, 2.0]
    assert (str(plain), str(with_interval)) == ("1", "1 [0.5, 2]")


@pytest.mark.parametrize("n", [60, 5000])
def test_the_interval_of_a_mean_is_students(n):
    """The standard error of a mean is known: s / √n. Parts of 5000 are scaled."""
    x = np.random.RandomState(0).randn(n)

    def mean_of_part(draws, share):
        rows = draws.permutation(n)[: round(n * share)]
        assert len(rows) == min(n // 2, 1000)
        return {"mean": x[rows].mean(), "same": 1.0}

    found = [
        intervals({"mean": x.mean(), "same": 1.0}, mean_of_part, num_samples=n, seed=seed)
        for seed in range(30)
    ]
    assert {one["same"] for one in found} == {None}
    assert all(sum(one["mean"]) / 2 == pytest.approx(x.mean()) for one in found)
    reach = np.mean([(one["mean"][1] - one["mean"][0]) / 2 for one in found])
    assert reach == pytest.approx(2.093 * x.std(ddof=1) / n**0.5, rel=0.1)


def test_few_samples_have_no_interval(tiny, pictures):
    x = torch.from_numpy(pictures(60, 1).x)
    found = Evaluator(pictures(60), extractor=tiny).evaluate(["fd_lite0"], lambda n: x[:n], 39)
    assert found["fd_lite0"].interval is found["fd_lite0"].interval_method is None
    found = Evaluator(pictures(39), extractor=tiny).evaluate(["fd_lite0"], lambda n: x[:n], 60)
    assert found["fd_lite0"].interval is None


def test_the_interval_is_as_wide_as_the_spread_over_new_samples(tiny, pictures):
    """The Fréchet distance's standard deviation over 12 pairs of new sets, against σ."""
    found = []
    for seed in range(12):
        x = torch.from_numpy(pictures(80, 100 + seed).x // 2)
        evaluator = Evaluator(pictures(80, seed), extractor=tiny, batch=80)
        found.append(evaluator.evaluate(["fd_lite0"], lambda n, x=x: x[:n], 80)["fd_lite0"])
    spread = np.std([result.value for result in found], ddof=1)
    sigmas = [(result.interval[1] - result.value) / 2.093 for result in found]
    assert 0.5 < np.sqrt(np.mean(np.square(sigmas))) / spread < 2


class Means(PartEvaluator):
    names = ("mean",)

    def features(self, x, first):
        return x

    def scores(self, names, fake):
        return {"mean": float(fake.double().mean())}


def test_an_evaluator_without_real_features_takes_halves_of_the_generated_samples():
    x = torch.randn(50, 1, generator=torch.Generator().manual_seed(0))
    (result,) = Means([0], batch=50).evaluate(["mean"], lambda n: x, 50).values()
    assert result.interval[1] - result.value == pytest.approx(
        2.093 * float(x.std()) / 50**0.5, rel=0.4
    )
    assert result.interval_method == "95 %, 20 random halves of the generated samples"
