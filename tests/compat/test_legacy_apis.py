# SPDX-License-Identifier: Apache-2.0
"""Each older API works under its fix, fails without it, and is gone after it.

A package that is not installed here, or that still has the API, is replaced by a stand-in of the
same shape.
"""

import argparse
import builtins
import importlib
import io
import os
import pathlib
import pickle
import subprocess
import sys
import types

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import pytest
import torch
from old_apis import fixed

from fastgan.compat.legacy_apis import FIXES


def module(name, **names):
    made = types.ModuleType(name)
    made.__path__ = []
    made.__dict__.update(names)
    return made


@pytest.fixture
def stand_ins(monkeypatch):
    """stand_ins(*modules): imported modules, instead of those of these names."""

    def put(*modules):
        for made in modules:
            monkeypatch.setitem(sys.modules, made.__name__, made)
            parent, _, child = made.__name__.rpartition(".")
            if parent in sys.modules:
                monkeypatch.setattr(sys.modules[parent], child, made, raising=False)

    return put


@pytest.fixture
def unavailable(monkeypatch):
    """unavailable(*roots): as if these modules of Python or of the environment did not exist."""

    roots = []

    def hide(*names):
        roots.extend(names)
        for name in list(sys.modules):
            if name.partition(".")[0] in roots:
                monkeypatch.delitem(sys.modules, name)
        paths = [f for f in sys.meta_path if getattr(f, "__name__", "") == "PathFinder"]
        monkeypatch.setattr(
            sys, "meta_path", [f for f in sys.meta_path if f not in paths] + [Quiet(paths, roots)]
        )

    return hide


class Quiet:
    """Finders that do not find some packages."""

    def __init__(self, finders, roots):
        self.finders, self.roots = finders, roots

    def find_distributions(self, *context):
        return (found for f in self.finders for found in f.find_distributions(*context))

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.roots:
            return None
        found = (finder.find_spec(name, path, target) for finder in self.finders)
        return next((spec for spec in found if spec is not None), None)


def saved(value):
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return file


def grid(tensor, nrow=8, *, normalize=False, value_range=None):
    return tensor, nrow, normalize, value_range


def mel(*, sr, n_fft, n_mels=128, fmin=0.0, fmax=None):
    return sr, n_fft, n_mels, fmin, fmax


def new_sqrtm(A):
    return np.diag(np.sqrt(np.diag(A)))


def case_adam_betas(stand_ins, unavailable):
    w = torch.nn.Parameter(torch.ones(1))
    torch.optim.Adam([w], betas=[0, 0.99])
    torch.optim.Adam([w], 0.1, (0, 0.99))


def case_sampler_argument(stand_ins, unavailable):
    class Sampler(torch.utils.data.Sampler):
        def __init__(self, dataset):
            super().__init__(dataset)

    Sampler([1, 2])


def case_loader_next(stand_ins, unavailable):
    assert iter(torch.utils.data.DataLoader([1, 2])).next().tolist() == [1]


def case_prefetch_without_workers(stand_ins, unavailable):
    loader = torch.utils.data.DataLoader([1, 2], num_workers=0, prefetch_factor=2)
    assert [x.tolist() for x in loader] == [[1], [2]]
    loader = torch.utils.data.DataLoader([1, 2], num_workers=1, prefetch_factor=2)
    assert loader.prefetch_factor == 2
    with pytest.raises(ValueError, match="prefetch_factor"):
        torch.utils.data.DataLoader([1, 2], num_workers=0, prefetch_factor=3)


def case_load_plain_objects(stand_ins, unavailable):
    args = argparse.Namespace(size=8, lr=np.float64(0.5), path=pathlib.Path("a/b"), ch=[1, None])
    best = np.array(7, ">i2")[()]
    got = torch.load(saved({"g": torch.ones(2), "args": args, "best": best}))
    assert got["args"] == args
    assert got["best"] == 7
    assert got["args"].lr == 0.5
    assert got["g"].tolist() == [1, 1]


def case_stft_of_real_signals(stand_ins, unavailable):
    x, window = torch.randn(2, 64), torch.hann_window(16)
    want = torch.view_as_real(torch.stft(x, 16, 4, 16, window, return_complex=True))
    for y in (
        torch.stft(x, 16, hop_length=4, win_length=16, window=window, center=True),
        torch.stft(x, 16, 4, 16, window),
        x.stft(16, 4, 16, window),
    ):
        torch.testing.assert_close(y, want)


def case_istft_of_pairs(stand_ins, unavailable):
    x, window = torch.randn(2, 64), torch.hann_window(16)
    spectrum = torch.stft(x, 16, 4, 16, window, return_complex=True)
    torch.testing.assert_close(torch.istft(torch.view_as_real(spectrum), 16, 4, 16, window), x)


def case_torch_six(stand_ins, unavailable):
    from torch._six import container_abcs, inf, int_classes, string_classes

    assert isinstance("x", string_classes)
    assert isinstance(3, int_classes)
    assert isinstance([], container_abcs.Sequence)
    assert inf == float("inf")


def case_callable_operations(stand_ins, unavailable):
    op = torch._C._jit_get_operation("aten::grid_sampler_2d_backward")
    x, where = torch.ones(1, 1, 2, 2), torch.zeros(1, 2, 2, 2)
    assert op(x, x, where, 0, 0, False)[0].shape == x.shape


def case_image_range(stand_ins, unavailable):
    utils = importlib.import_module("torchvision.utils")
    for function in (utils.make_grid, utils.save_image):
        assert function(1, nrow=2, normalize=True, range=(-1, 1)) == (1, 2, True, (-1, 1))


def case_functional_tensor(stand_ins, unavailable):
    from torchvision.transforms.functional_tensor import rgb_to_grayscale

    assert rgb_to_grayscale is len


def case_load_state_dict_from_url(stand_ins, unavailable):
    from torchvision.models.utils import load_state_dict_from_url

    assert load_state_dict_from_url is torch.hub.load_state_dict_from_url


def case_resampling_names(stand_ins, unavailable):
    image = PIL.Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8))
    for old, new in (("ANTIALIAS", "LANCZOS"), ("LINEAR", "BILINEAR"), ("CUBIC", "BICUBIC")):
        got = image.resize((4, 4), getattr(PIL.Image, old))
        assert np.array_equal(got, image.resize((4, 4), getattr(PIL.Image, new)))


def case_font_getsize(stand_ins, unavailable):
    font = PIL.ImageFont.load_default(20)
    assert font.getsize("ab") == (
        font.getbbox("ab")[2] - font.getbbox("ab")[0],
        *font.getbbox("ab")[3:],
    )
    bitmap = PIL.ImageFont.load_default_imagefont()
    assert bitmap.getsize("ab") == bitmap.getbbox("ab")[2:]


def case_draw_textsize(stand_ins, unavailable):
    draw = PIL.ImageDraw.Draw(PIL.Image.new("L", (9, 9)))
    font = PIL.ImageFont.load_default(20)
    width, height = draw.textsize("ab", font=font)
    assert (width, height) == (font.getbbox("ab")[2] - font.getbbox("ab")[0], font.getbbox("ab")[3])
    step = font.getbbox("A")[3] + 4
    assert draw.textsize("ab\nabab", font) == (draw.textsize("abab", font)[0], 2 * step - 4)
    assert draw.multiline_textsize("ab\nab", font, 0) == (width, 2 * step - 8)


def case_removed_names(stand_ins, unavailable):
    assert np.array([1], np.float).dtype == np.float64
    assert np.array([1], dtype=np.int).dtype == np.int64
    assert [np.object, np.str, np.complex] == [object, str, complex]
    assert np.array([1], np.bool).dtype == bool
    assert np.product([2, 3]) == 6
    assert np.Inf == -np.NINF == np.infty == np.inf
    assert np.isnan(np.NaN)
    assert np.float_ is np.float64
    assert np.in1d([[1, 2], [3, 4]], [2, 3]).tolist() == [False, True, True, False]
    assert np.asfarray([1]).dtype == np.float64
    assert np.asscalar(np.array([3])) == 3


def case_sqrtm_disp(stand_ins, unavailable):
    linalg = importlib.import_module("scipy.linalg")
    root, error = linalg.sqrtm(np.diag([4.0, 9.0]), disp=False)
    assert np.array_equal(root, np.diag([2.0, 3.0]))
    assert error == 0
    assert np.array_equal(linalg.sqrtm(np.diag([4.0])), [[2.0]])


def case_mel_by_position(stand_ins, unavailable):
    from librosa.filters import mel

    assert mel(22050, 1024, 80, 0, 8000) == (22050, 1024, 80, 0, 8000)
    assert mel(22050, 1024, fmax=8000) == (22050, 1024, 128, 0.0, 8000)
    assert mel(sr=22050, n_fft=1024) == (22050, 1024, 128, 0.0, None)
    with pytest.raises(TypeError):
        mel(22050, sr=22050, n_fft=1024)


def case_audio_by_position(stand_ins, unavailable):
    audio = importlib.import_module("librosa.core.audio")
    assert audio.load("a.wav", 22050) == ("a.wav", 22050)
    assert audio.resample("y", 44100, 22050) == ("y", 44100, 22050)


def case_pkg_resources(stand_ins, unavailable):
    unavailable("pkg_resources")
    import pkg_resources
    from pkg_resources import parse_version

    assert pkg_resources.get_distribution("numpy").version == np.__version__
    with pytest.raises(pkg_resources.DistributionNotFound):
        pkg_resources.get_distribution("no-such-distribution")
    assert next(pkg_resources.iter_entry_points("console_scripts")).name
    assert pkg_resources.resource_filename("fastgan", "py.typed").endswith("fastgan/py.typed")
    assert parse_version("1.7.1") < parse_version("1.10.0") <= parse_version("1.10.0")


def case_distutils(stand_ins, unavailable):
    unavailable("distutils", "_distutils_hack")
    import distutils

    assert distutils.__spec__.origin == "fastgan.compat"


def case_distutils_version(stand_ins, unavailable):
    unavailable("distutils", "_distutils_hack")
    from distutils.version import LooseVersion, StrictVersion

    assert LooseVersion("1.9.1") < LooseVersion("1.10.0+cu111") > "1.10"
    assert StrictVersion("2.0") == "2.0"


def case_distutils_util(stand_ins, unavailable):
    unavailable("distutils", "_distutils_hack")
    from distutils.util import strtobool

    assert [strtobool(word) for word in ("yes", "False")] == [1, 0]
    with pytest.raises(ValueError, match="maybe"):
        strtobool("maybe")


def case_distutils_spawn(stand_ins, unavailable):
    unavailable("distutils", "_distutils_hack")
    from distutils.spawn import find_executable

    assert find_executable("sh")


def case_abstract_collections(stand_ins, unavailable):
    import collections

    assert isinstance({}, collections.Mapping)
    assert isinstance([], collections.Iterable)


def case_getargspec(stand_ins, unavailable):
    import inspect

    assert inspect.getargspec(lambda a, b=1, *c: a) == (["a", "b"], "c", None, (1,))


def case_local_rank(stand_ins, unavailable):
    parser = argparse.ArgumentParser()
    parser.add_argument("--local_rank", type=int, default=0)
    parser.add_argument("path", nargs="?")
    assert parser.parse_args(["--local-rank=3", "x"]) == argparse.Namespace(local_rank=3, path="x")
    assert parser.parse_args(["--local-rank", "2"]).local_rank == 2
    assert parser.parse_args(["--local_rank=1", "--", "--local"]).local_rank == 1


CASES = {name[5:]: case for name, case in list(globals().items()) if name.startswith("case_")}


@pytest.fixture
def packages(stand_ins):
    """Stand-ins of packages that are not installed, or that still have the API."""
    functional = module("torchvision.transforms.functional", rgb_to_grayscale=len)
    stand_ins(
        module("torchvision"), module("torchvision.models"), module("torchvision.transforms"),
        module("torchvision.utils", make_grid=grid, save_image=grid), functional,
        module("librosa"), module("librosa.core"), module("librosa.filters", mel=mel),
        module("librosa.core.audio", load=lambda path, *, sr=22050: (path, sr),
               resample=lambda y, *, orig_sr, target_sr, **_: (y, orig_sr, target_sr)),
        module("scipy"), module("scipy.linalg", sqrtm=new_sqrtm),
    )  # fmt: skip


FAILURES = (AttributeError, TypeError, ValueError, RuntimeError, ImportError, AssertionError,
            SystemExit, pickle.UnpicklingError)  # fmt: skip


def test_each_fix_has_a_test():
    assert set(CASES) == set(FIXES)


@pytest.mark.parametrize("name", FIXES)
def test_it_works_under_its_fix_alone_and_fails_before_and_after(
    name, packages, stand_ins, unavailable, monkeypatch
):
    extra = {"distutils_version", "distutils_util", "distutils_spawn"} & {name}
    for is_fixed in (False, True, False):
        with monkeypatch.context():
            if is_fixed:
                with fixed(name, *(["distutils"] if extra else [])):
                    CASES[name](stand_ins, unavailable)
            else:
                with pytest.raises(FAILURES):
                    CASES[name](stand_ins, unavailable)


def test_a_module_is_changed_when_it_is_imported(tmp_path, monkeypatch):
    text = "def mel(*, sr, n_fft): return sr, n_fft\n"
    (tmp_path / "librosa").mkdir()
    (tmp_path / "librosa/__init__.py").write_text("")
    (tmp_path / "librosa/filters.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("librosa", "librosa.filters"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with fixed():
        assert "librosa.filters" not in sys.modules
        filters = importlib.import_module("librosa.filters")
        assert filters.mel(1, 2) == (1, 2)
        assert filters.__loader__ is filters.__spec__.loader
        assert type(filters.__loader__).__name__ == "SourceFileLoader"
    with pytest.raises(TypeError):
        filters.mel(1, 2)
    for name in ("librosa", "librosa.filters"):
        sys.modules.pop(name)


def test_what_exists_is_not_touched(stand_ins):
    """An older package of each kind, which has the API."""

    def old_grid(tensor, range=None):
        return range

    utils = module("torchvision.utils", make_grid=old_grid, save_image=old_grid)
    linalg = module("scipy.linalg", sqrtm=lambda A, disp=True: (A, disp))
    stand_ins(module("torchvision"), utils, module("scipy"), linalg)
    sqrtm = linalg.sqrtm
    with fixed():
        assert utils.make_grid is old_grid
        assert linalg.sqrtm is sqrtm
        import distutils.version

        assert distutils.version.__spec__.origin != "fastgan.compat"


def test_correct_calls_give_what_they_gave():
    x, window = torch.randn(2, 64), torch.hann_window(16)
    before = torch.stft(x, 16, window=window, return_complex=True)
    with fixed():
        assert torch.equal(torch.stft(x, 16, window=window, return_complex=True), before)
        assert torch.equal(
            torch.stft(x, 16, None, None, window, True, "reflect", False, None, True), before
        )
        complex_ = torch.stft(x + 0j, 16, window=window)
        assert complex_.is_complex()
        assert torch.equal(
            torch.istft(before, 16, window=window, length=64).round(decimals=4), x.round(decimals=4)
        )
        compiled = torch.compile(
            lambda x: torch.stft(x, 16, window=window), backend="aot_eager", fullgraph=True
        )
        torch.testing.assert_close(compiled(x), torch.view_as_real(before))
        parser = argparse.ArgumentParser()
        parser.add_argument("--local-rank", type=int)
        parser.add_argument("--local_rank", type=str)
        assert parser.parse_args(["--local-rank=3"]) == argparse.Namespace(local_rank=3)
        assert np.bool is np.bool_ or np.bool is bool
        with pytest.raises(AttributeError, match="no_such"):
            np.no_such  # noqa: B018


def there_and_back(x, window):
    # type: (torch.Tensor, torch.Tensor) -> torch.Tensor
    y = torch.stft(x, 16, hop_length=4, window=window, return_complex=True)
    return torch.istft(y, 16, 4, 16, window)


def test_torchscript_sees_torchs_own():
    x, window = torch.randn(2, 64), torch.hann_window(16)
    with fixed():
        torch.testing.assert_close(torch.jit.script(there_and_back)(x, window), x)


class Runs:
    """What a hostile file holds: reading it calls a function."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


class OfAnotherModule(argparse.Namespace):
    """A class of the file's author."""


HOSTILE = {
    "a shell command": lambda path: Runs(os.system, f"touch {path}"),
    "eval": lambda path: Runs(builtins.eval, f"open({str(path)!r}, 'w')"),
    "a subprocess": lambda path: Runs(subprocess.check_call, ["touch", str(path)]),
    "writing by pathlib": lambda path: Runs(pathlib.Path.touch, path),
    "getattr": lambda path: Runs(getattr, argparse.Namespace, "__init__"),
    "an import": lambda path: Runs(importlib.import_module, "antigravity"),
    "a class of their own": lambda path: OfAnotherModule(a=1),
    "within a Namespace": lambda path: argparse.Namespace(a=Runs(os.system, f"touch {path}")),
    "an array of objects": lambda path: np.array([Runs(os.system, f"touch {path}")], dtype=object),
    "a scalar of objects": lambda path: Runs(
        np._core.multiarray.scalar, np.dtype("O"), Runs(os.system, f"touch {path}")
    ),
    "a type with fields": lambda path: Runs(np.dtype, [("a", "i4")]),
    "a scalar of another size": lambda path: Runs(
        np._core.multiarray.scalar, np.dtype("f8"), bytes(16)
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_is_refused_and_nothing_of_it_runs(kind, tmp_path):
    path = tmp_path / "it_ran"
    file = saved({"args": argparse.Namespace(x=HOSTILE[kind](path))})
    with fixed(), pytest.raises((pickle.UnpicklingError, ValueError, TypeError)):
        torch.load(file)
    assert not path.exists()


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("a shell command", r"the global posix\.system; .* do not use this file, and get it"),
        ("a class of their own", r"the global \S+\.OfAnotherModule; .*add_safe_globals\(\["),
    ],
)
def test_the_refused_global_is_named_without_torchs_advice(kind, words, tmp_path):
    path = tmp_path / "x.pt"
    torch.save({"x": HOSTILE[kind](tmp_path / "it_ran")}, path)
    original = torch.load
    with fixed():
        for load in (torch.load, torch.serialization.load):
            with pytest.raises(pickle.UnpicklingError, match=f"x.pt contains {words}") as caught:
                load(path)
            assert "weights_only" not in str(caught.value)
            assert caught.value.__suppress_context__
        path.write_bytes(b"not a file of torch")
        with pytest.raises(Exception, match=r"invalid load key|Unsupported operand"):
            torch.load(path)
    assert torch.load is torch.serialization.load is original


def test_the_allow_list_is_as_before_afterwards():
    before = torch.serialization.get_safe_globals()
    torch.serialization.add_safe_globals([argparse.Namespace])
    with fixed():
        torch.serialization.add_safe_globals([OfAnotherModule])
    after = torch.serialization.get_safe_globals()
    assert set(after) == {*before, argparse.Namespace, OfAnotherModule}
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(before)
