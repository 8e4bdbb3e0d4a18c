# SPDX-License-Identifier: Apache-2.0
"""Inception's metrics with a TorchScript stand-in: the real weights are in no package."""

import hashlib
import sys
import types

import numpy as np
import pytest
import torch
from torch import nn

from fastgan.metrics import inception
from fastgan.metrics.frechet import frechet_distance
from fastgan.metrics.inception import weights as module
from fastgan.metrics.kid import kid
from fastgan.metrics.prdc import prdc


class StandIn(nn.Module):
    """Called as NVIDIA's inception-2015-12-05.pt is; 2048 features of a picture of 2 × 2."""

    def __init__(self):
        super().__init__()
        draws = torch.Generator().manual_seed(0)
        self.register_buffer("features", torch.randn(12, 2048, generator=draws))
        self.register_buffer("classes", torch.randn(2048, 1008, generator=draws) / 9)

    def forward(self, x: torch.Tensor, return_features: bool = False, no_output_bias: bool = False):
        small = nn.functional.adaptive_avg_pool2d(x.to(torch.float32) / 255, [2, 2])
        features = torch.matmul(small.flatten(1), self.features).relu()
        if return_features:
            return features
        assert no_output_bias
        return torch.matmul(features, self.classes).softmax(1)


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    path = tmp_path_factory.mktemp("inception") / "inception-2015-12-05.pt"
    torch.jit.script(StandIn()).save(str(path))
    return path


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTGAN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


def by_the_book(p, splits):
    """exp of the mean divergence, one sample at a time."""
    scores = []
    for rows in np.array_split(p, splits):
        marginal = rows.mean(0)
        kl = [sum(a * np.log(a / b) for a, b in zip(q, marginal, strict=True) if a) for q in rows]
        scores.append(np.exp(np.mean(kl)))
    return np.mean(scores)


@pytest.mark.parametrize(("n", "splits"), [(23, 10), (7, 1), (3, 10)])
def test_the_inception_score_equals_its_formula(n, splits):
    p = np.random.RandomState(n).dirichlet(np.full(6, 0.3), n)
    p[0] = np.eye(6)[2]  # zeros
    found = inception.inception_score(torch.tensor(p), splits=splits)
    assert found == pytest.approx(by_the_book(p, min(n, splits)), rel=1e-12)


def test_the_inception_score_of_extremes():
    same, different = torch.full((40, 5), 0.2), torch.eye(5).repeat_interleave(8, 0)
    assert inception.inception_score(same) == pytest.approx(1)
    assert inception.inception_score(different, splits=1) == pytest.approx(5)
    with pytest.raises(ValueError, match=r"^inception_score: features must be finite"):
        inception.inception_score(torch.full((3, 2), torch.nan))
    with pytest.raises(ValueError, match=r"got \[0, 5\]"):
        inception.inception_score(torch.zeros(0, 5))


def test_all_metrics_are_those_of_the_networks_features(script, pictures, metrics_extra):
    data, x = pictures(48), torch.from_numpy(pictures(45, 1).x)
    options = {"batch": 20, "num_real": 44}
    evaluator = inception.InceptionEvaluator(data, inception.find_weights(script), **options)
    position = iter(x.split(20))
    found = evaluator.evaluate(inception.NAMES, lambda n: next(position), 45)

    net = StandIn()
    order = np.random.RandomState(0).permutation(48)[:44]
    real, fake = (net(t, return_features=True) for t in (torch.from_numpy(data.x[order]), x))
    expected = {"fid": frechet_distance(real, fake), "kid_inception": kid(real, fake)}
    expected |= {f"{name}_inception": v for name, v in vars(prdc(real, fake)).items()}
    p = net(x, no_output_bias=True).double().numpy()
    expected["inception_score"] = by_the_book(p, 10)
    assert {name: result.value for name, result in found.items()} == pytest.approx(
        expected, rel=1e-6
    )
    digest = hashlib.sha256(script.read_bytes()).hexdigest()[:8]
    assert found["fid"].extractor == f"inception-2015-12-05 (SHA-256 {digest})"
    assert found["fid"].resize.startswith("299x299")
    assert found["fid"].interval[0] < found["fid"].value < found["fid"].interval[1]


def test_two_ranks_find_the_values_of_one(script, pictures, on_ranks, metrics_extra):
    x = torch.from_numpy(pictures(45, 1).x)
    networks = []

    def values(ranks):
        evaluator = inception.InceptionEvaluator(
            pictures(48), inception.find_weights(script), batch=20, ranks=ranks
        )
        evaluator.extractor.register_forward_pre_hook(lambda _, args: networks.append(len(args[0])))
        found = evaluator.evaluate_parts(inception.NAMES, lambda i, n: x[i : i + n], 45)
        return {name: (result.value, result.interval) for name, result in found.items()}

    alone = values(None)
    assert len(alone) == 7
    networks.clear()
    assert on_ranks(2, values) == [alone, {}]
    assert sorted(networks) == [5, 8, 20, 20, 20, 20]  # nothing is computed twice


def test_the_score_alone_needs_no_real_images(script, pictures):
    names = ["inception_score"]
    evaluator = inception.InceptionEvaluator(pictures(4), inception.find_weights(script), names)
    evaluator.real_features = None  # a call would raise
    x = torch.from_numpy(pictures(9).x)
    assert evaluator.evaluate(names, lambda n: x, 9)["inception_score"].value >= 1


def test_grey_and_float_images(script):
    net = inception.Inception(inception.find_weights(script))
    grey = torch.randint(0, 256, (3, 1, 6, 6), dtype=torch.uint8)
    assert torch.equal(net(grey), net(grey.expand(-1, 3, -1, -1)))
    assert torch.equal(net(grey), net(grey.float() / 127.5 - 1))
    assert not net.train().training


def test_a_missing_file_is_named_with_where_people_get_it(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        inception.find_weights()
    text = str(error.value)
    for words in (
        str(tmp_path / "cache" / "inception-2015-12-05.pt"), "--inception FILE", module.SCRIPT_URL,
        str(tmp_path / "torch" / "hub" / "checkpoints" / module.FIDELITY), module.FIDELITY_URL,
        "fastgan[fid]",
    ):  # fmt: skip
        assert words in text
    with pytest.raises(FileNotFoundError, match=r"there is no file .*gone\.pt"):
        inception.find_weights(tmp_path / "gone.pt")
    (tmp_path / "x.pkl").touch()
    with pytest.raises(ValueError, match=r"x\.pkl is neither a TorchScript file"):
        inception.find_weights(tmp_path / "x.pkl")


def test_the_cache_folder_is_found_first(script, tmp_path, monkeypatch):
    hub = tmp_path / "torch" / "hub" / "checkpoints" / module.FIDELITY
    hub.parent.mkdir(parents=True)
    hub.touch()
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"torch_fidelity is not installed.*fastgan\[fid\]"):
        inception.find_weights()
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: name)
    assert inception.find_weights() == inception.Weights(hub, is_script=False)
    kept = tmp_path / "cache" / "inception-2015-12-05.pt"
    kept.parent.mkdir()
    kept.write_bytes(script.read_bytes())
    assert inception.find_weights() == inception.Weights(kept, is_script=True)


def test_a_wrong_file_is_refused(tmp_path, monkeypatch):
    broken = tmp_path / "a.pt"
    broken.write_bytes(b"no zip")
    with pytest.raises(ValueError, match=r"a\.pt is not a whole TorchScript file"):
        inception.Inception(inception.find_weights(broken))
    torch.jit.script(nn.Linear(2, 3)).save(str(broken))
    with pytest.raises(ValueError, match="cannot be called as NVIDIA's file is"):
        inception.Inception(inception.find_weights(broken))
    monkeypatch.setattr(module, "_require_fidelity", lambda: None)
    other = tmp_path / "weights.pth"
    other.write_bytes(b"other")
    with pytest.raises(ValueError, match="SHA-256 that begins with 6726825d, got"):
        inception.find_weights(other)


def test_torch_fidelitys_network_is_called_as_it_wants(tmp_path, monkeypatch):
    """With a stand-in for the package: its class, its arguments, and what it returns."""
    made = []

    class FeatureExtractorInceptionV3(StandIn):
        def __init__(self, name, features_list, feature_extractor_weights_path=None):
            super().__init__()
            self.parts = len(features_list)
            made.append((name, features_list, feature_extractor_weights_path))

        def forward(self, x):
            assert x.dtype == torch.uint8
            assert x.shape[1] == 3
            features = super().forward(x, return_features=True)
            return (features, features @ self.classes)[: self.parts]

    package = types.ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    package.FeatureExtractorInceptionV3 = FeatureExtractorInceptionV3
    monkeypatch.setitem(sys.modules, "torch_fidelity", types.ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, package.__name__, package)
    path = tmp_path / "w.pth"
    path.write_bytes(b"weights")
    net = inception.Inception(inception.Weights(path, is_script=False), has_probabilities=True)
    x = torch.randint(0, 256, (2, 1, 6, 6), dtype=torch.uint8)
    assert made == [("inception-v3-compat", ["2048", "logits_unbiased"], str(path))]
    assert net(x).shape == (2, 2048 + 1008)
    assert torch.allclose(net(x)[:, 2048:], StandIn()(x.expand(-1, 3, -1, -1), False, True))
    assert net.name.startswith("torch-fidelity inception (SHA-256 ")
    plain = inception.Inception(inception.Weights(path, is_script=False))
    assert made[1][1] == ["2048"]
    assert plain(x).shape == (2, 2048)
