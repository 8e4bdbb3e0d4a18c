# SPDX-License-Identifier: Apache-2.0
import hashlib

import pytest
import torch

from fastgan.metrics import Evaluator


@pytest.fixture
def extractor(tiny):
    tiny.fingerprint = "weights 1"
    return tiny


def features(extractor, data, folder, **options):
    """The features, and how many pictures the extractor was given for them."""
    extractor.num_images = 0
    found = Evaluator(data, extractor=extractor, cache=folder, batch=8, **options).real_features()
    return found, extractor.num_images


def test_equal_data_is_computed_once(extractor, pictures, tmp_path):
    folder = tmp_path / "new" / "features"
    first, computed = features(extractor, pictures(30), folder)
    again, computed_again = features(extractor, pictures(30), folder)
    assert (computed, computed_again) == (30, 0)
    assert torch.equal(first, again)
    assert torch.equal(first, features(extractor, pictures(30), None)[0])
    assert len(list(folder.iterdir())) == 1


def brighter(data, extractor):
    data.x[17, 1, 2, 3] ^= 1  # one bit of one pixel


def swapped(data, extractor):
    data.x[[3, 4]] = data.x[[4, 3]]


def flat(data, extractor):
    data.x = data.x.reshape(30, 3, 2, 8)  # the same bytes


def trained_again(data, extractor):
    extractor.fingerprint = "weights 2"


def renamed(data, extractor):
    extractor.name = "other"


def resized(data, extractor):
    extractor.resize = "other"


@pytest.mark.parametrize("change", [brighter, swapped, flat, trained_again, renamed, resized])
def test_whatever_the_features_depend_on_makes_them_new(extractor, pictures, tmp_path, change):
    features(extractor, pictures(30), tmp_path)
    data = pictures(30)
    change(data, extractor)
    found, computed = features(extractor, data, tmp_path)
    assert computed == 30
    assert torch.equal(found, features(extractor, data, None)[0])
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("options", [{"seed": 1}, {"num_real": 29}])
def test_other_pictures_of_the_data_are_other_features(extractor, pictures, tmp_path, options):
    features(extractor, pictures(30), tmp_path)
    found, computed = features(extractor, pictures(30), tmp_path, **options)
    assert computed == len(found) == options.get("num_real", 30)


def another_format(content):
    """A right checksum of something else."""
    return hashlib.sha256(content[40:]).digest() + content[40:]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-3] + bytes([content[-3] ^ 1]) + content[-2:],
        lambda content: content[:-8],
        lambda content: content[:20],
        lambda content: b"",
        another_format,
    ],
)
def test_a_damaged_file_is_computed_again(extractor, pictures, tmp_path, damage):
    first, _ = features(extractor, pictures(30), tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(UserWarning, match="is damaged; the features are computed again"):
        found, computed = features(extractor, pictures(30), tmp_path)
    assert computed == 30
    assert torch.equal(found, first)
    assert features(extractor, pictures(30), tmp_path)[1] == 0


def test_a_folder_that_cannot_be_written_to_is_said(extractor, pictures, tmp_path):
    (tmp_path / "file").touch()
    with pytest.warns(UserWarning, match="are not kept"):
        found, computed = features(extractor, pictures(30), tmp_path / "file" / "features")
    assert (len(found), computed) == (30, 30)


def test_an_extractor_without_fingerprint_keeps_nothing(tiny, pictures, tmp_path):
    assert [features(tiny, pictures(30), tmp_path)[1] for _ in range(2)] == [30, 30]
    assert not list(tmp_path.iterdir())


def test_each_rank_keeps_its_part(extractor, pictures, on_ranks, tmp_path):
    """Three ranks and four parts of 8: what they find together is what one process finds."""

    def shared(ranks):
        options = {"ranks": ranks, "cache": tmp_path, "batch": 8}
        return Evaluator(pictures(30), extractor=extractor, **options).real_features()

    alone, _ = features(extractor, pictures(30), None)
    for images in (60, 60):  # 30 above, 30 by the ranks, and then none
        assert all(torch.equal(found, alone) for found in on_ranks(3, shared))
        assert extractor.num_images == images
    assert len(list(tmp_path.iterdir())) == 3
