# SPDX-License-Identifier: Apache-2.0
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from fastgan.data import BatchLoader, ImageDataset
from fastgan.data.batch_loader import packing_advice
from fastgan.data.epoch_order import Balanced


class Numbered:
    """Picture i is 2×3 pixels, row-wise i·2 and i·2 + 1, …; its label is [i]."""

    def __init__(self, count):
        self.count, self.image_shape, self.label_dim = count, (1, 2, 3), 1

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        x = np.arange(6, dtype=np.uint8).reshape(1, 2, 3) + np.uint8(6 * i)
        return x, np.array([i], dtype=np.float32)


def shown(loader, positions):
    return np.concatenate([loader.batch_at(p)[1][:, 0].numpy() for p in positions]).astype(int)


@pytest.mark.parametrize("ram_limit", [0, 2**20], ids=["disk", "ram"])
@pytest.mark.parametrize(("count", "batch"), [(7, 3), (5, 5), (1, 4), (4, 11)])
def test_each_picture_once_per_epoch_across_borders(count, batch, ram_limit):
    loader = BatchLoader(Numbered(count), batch, seed=3, ram_limit=ram_limit)
    assert loader.is_in_ram == (ram_limit > 0)
    seen = shown(loader, range(0, 4 * count * batch, batch))
    epochs = seen.reshape(-1, count)
    np.testing.assert_array_equal(np.sort(epochs), np.tile(np.arange(count), (len(epochs), 1)))
    if count >= 5:
        assert len({tuple(e) for e in epochs}) > 1


@pytest.mark.parametrize("ram_limit", [0, 2**20], ids=["disk", "ram"])
def test_resume_needs_only_the_position(ram_limit):
    def make():
        return BatchLoader(Numbered(7), 3, seed=5, mirror=True, ram_limit=ram_limit)

    straight = make()
    expected = {p: straight.batch_at(p) for p in range(0, 60, 3)}
    for p in (57, 0, 21, 24, 20 + 1, 3):
        x, c = make().batch_at(p)
        assert torch.equal(x, expected[p][0])
        assert torch.equal(c, expected[p][1])
        again = straight.batch_at(p)
        assert torch.equal(again[0], x)


def test_a_position_between_batches_continues_the_same_stream():
    a = shown(BatchLoader(Numbered(7), 3, seed=5), range(0, 42, 3))
    b = shown(BatchLoader(Numbered(7), 2, seed=5), range(1, 41, 2))
    np.testing.assert_array_equal(a[1:41], b)


def test_seed_changes_the_order_and_the_order_is_pinned():
    def order(seed):
        return BatchLoader(Numbered(10), 10, seed=seed).indices_at(0)[0].tolist()

    assert order(0) != order(1)
    assert order(0) == [7, 4, 2, 9, 1, 8, 3, 6, 0, 5]


def test_batches_from_disk_equal_batches_from_ram():
    a, b = (
        BatchLoader(Numbered(7), 4, seed=1, mirror=True, ram_limit=r, workers=3) for r in (0, 2**20)
    )
    for p in (0, 4, 8, 9, 2):
        for got, expected in zip(a.batch_at(p), b.batch_at(p), strict=True):
            assert torch.equal(got, expected)


def test_mirror_is_pure_and_shows_each_picture_both_ways_in_two_epochs():
    n = 16
    plain = BatchLoader(Numbered(n), n, seed=2)
    mirrored = BatchLoader(Numbered(n), n, seed=2, mirror=True)
    flips = np.zeros((2, n), dtype=bool)
    for epoch in range(2):
        x, c = plain.batch_at(epoch * n)
        y, _ = mirrored.batch_at(epoch * n)
        for xi, yi, ci in zip(x, y, c[:, 0].int(), strict=True):
            is_flipped = torch.equal(yi, xi.flip(2))
            assert is_flipped or torch.equal(yi, xi)
            flips[epoch, ci] = is_flipped
    np.testing.assert_array_equal(flips[0], ~flips[1])
    assert 0 < flips[0].sum() < n


def test_values_dtypes_and_ownership(draw):
    draw.folder.mkdir()
    from PIL import Image

    Image.fromarray(np.array([[0, 255, 51]], dtype=np.uint8)).save(draw.folder / "a.png")
    loader = BatchLoader(ImageDataset(draw.folder), 2, seed=0)
    x, c = loader.batch_at(0)
    assert x.dtype == c.dtype == torch.float32
    assert x.shape == (2, 1, 1, 3)
    assert c.shape == (2, 0)
    torch.testing.assert_close(x[0, 0, 0], torch.tensor([-1.0, 1.0, -0.6]))
    x.zero_()
    assert loader.batch_at(0)[0].abs().sum() > 0


def test_progress_and_early_error(draw):
    for i in range(3):
        draw(f"{i}.png", seed=i)
    calls = []
    BatchLoader(ImageDataset(draw.folder), 1, seed=0, progress=lambda *a: calls.append(a))
    assert calls == [(1, 3), (2, 3), (3, 3)]
    draw("1.png", (2, 2))
    with pytest.raises(ValueError, match=r"1\.png .* 2x2"):
        BatchLoader(ImageDataset(draw.folder), 1, seed=0)


@pytest.mark.parametrize("bad", [{"batch": 0}, {"seed": -1}, {"workers": 0}])
def test_bad_arguments(bad):
    kwargs = {"batch": 1, "seed": 0} | bad
    with pytest.raises(ValueError, match=next(iter(bad))):
        BatchLoader(Numbered(3), kwargs.pop("batch"), **kwargs)


def test_negative_position():
    with pytest.raises(ValueError, match="position"):
        BatchLoader(Numbered(3), 1, seed=0).batch_at(-1)


@pytest.mark.parametrize("ram_limit", [0, 2**20], ids=["disk", "ram"])
def test_parts_are_the_rows_of_the_whole_batch(ram_limit):
    options = {"seed": 1, "mirror": True, "ram_limit": ram_limit}
    whole = BatchLoader(Numbered(7), 6, **options)
    parts = [BatchLoader(Numbered(7), 6, part=(r, 3), **options) for r in range(3)]
    for position in (0, 6, 12, 3):
        want = whole.batch_at(position)
        for rank, part in enumerate(parts):
            for got, rows in zip(part.batch_at(position), want, strict=True):
                assert torch.equal(got, rows[rank::3])


@pytest.mark.parametrize("part", [(1, 1), (-1, 2), (0, 4)])
def test_impossible_parts(part):
    with pytest.raises(ValueError, match="a divisor of batch 6"):
        BatchLoader(Numbered(3), 6, seed=0, part=part)


def test_a_rank_decodes_its_own_rows_only():
    asked = []

    class Watched(Numbered):
        def __getitem__(self, i):
            asked.append(i)
            return super().__getitem__(i)

    loader = BatchLoader(Watched(40), 6, seed=0, ram_limit=0, part=(1, 3))
    loader.batch_at(0)
    loader._pool.shutdown()
    assert len(asked) == 4  # two of this batch, two of the next


def test_advice_to_pack_what_does_not_fit(monkeypatch):
    small = Numbered(3)
    small.path = "photos"
    assert packing_advice(small) is None
    monkeypatch.setattr("fastgan.data.batch_loader.DEFAULT_RAM_LIMIT", 17)
    assert "fastgan data pack photos DEST.fgpack --resolution 3x2" in packing_advice(small)


class Threads:
    """Processes of a machine, played by threads."""

    def __init__(self, rank, size, barrier, shared):
        self.rank, self.size, self._barrier, self._shared = rank, size, barrier, shared

    def share(self, name, value):
        if self.rank == 0:
            self._shared[name] = value
        self._barrier.wait(60)
        return self._shared[name]

    def barrier(self, name):
        self._barrier.wait(60)


@pytest.mark.parametrize("has_memfd", [True, False])
def test_processes_of_a_machine_decode_each_image_once(has_memfd, monkeypatch):
    """Into memory of which each has a map of its own."""
    if not has_memfd:
        monkeypatch.delattr("os.memfd_create", raising=False)
    decoded, shared, size = [], {}, 3
    barrier = threading.Barrier(size)

    class Watched(Numbered):
        def __getitem__(self, i):
            decoded.append(i)
            return super().__getitem__(i)

    def make(rank):
        machine = Threads(rank, size, barrier, shared)
        return BatchLoader(Watched(40), 6, seed=0, mirror=True, part=(rank, size), machine=machine)

    with ThreadPoolExecutor(size) as pool:
        loaders = list(pool.map(make, range(size)))
    assert sorted(decoded) == list(range(40))
    assert not Path(shared.popitem()[1]).exists()
    alone = BatchLoader(Numbered(40), 6, seed=0, mirror=True)
    for rank, loader in enumerate(loaders):
        for got, want in zip(loader.batch_at(36), alone.batch_at(36), strict=True):
            assert torch.equal(got, want[rank::size])
    loaders[0]._pixels.fill_(3)
    assert loaders[1]._pixels.eq(3).all()


class OfClasses(Numbered):
    """Picture i is of the class that `classes` has there."""

    def __init__(self, classes, labels=None):
        super().__init__(len(classes))
        self.labels = np.eye(max(classes) + 1)[classes] if labels is None else np.array(labels)
        self.label_dim = self.labels.shape[1]

    def __getitem__(self, i):
        return super().__getitem__(i)[0], self.labels[i].astype(np.float32)

    def label(self, i):
        return self.labels[i].astype(np.float32)


CLASSES = [0] * 12 + [3] + [1] * 3  # class 2 has no picture


@pytest.mark.parametrize(
    ("balance", "places"), [(0, [12, 3, 0, 1]), (0.5, [9, 4, 0, 3]), (1, [5, 6, 0, 5])]
)
@pytest.mark.parametrize("on_device", ["off", "on"])
def test_rare_classes_are_shown_more_often(balance, places, on_device):
    def make(batch, **options):
        options = {"class_balance": balance, "on_device": on_device} | options
        return BatchLoader(OfClasses(CLASSES), batch, seed=3, **options)

    loader = make(4)
    epochs = np.concatenate([loader.indices_at(p)[0] for p in range(0, 6 * 16, 4)]).reshape(6, 16)
    for epoch in epochs:
        of_class = np.bincount(np.array(CLASSES)[epoch], minlength=4)
        np.testing.assert_array_equal(of_class, places)
    changes = (np.diff(np.array(CLASSES)[epochs.flatten()]) != 0).sum()
    assert changes > 24  # one class after the other would have at most 18
    for k in (0, 1, 3):  # a class shows all its pictures before one comes again
        times = np.bincount(epochs[np.array(CLASSES)[epochs] == k], minlength=16)
        times = times[np.array(CLASSES) == k]
        assert times.max() - times.min() <= 1
    np.testing.assert_array_equal(make(16).indices_at(32)[0], epochs[2])  # position alone
    np.testing.assert_array_equal(make(3).indices_at(15)[0], epochs.flatten()[15:18])
    x, c = make(16, part=(1, 2)).batch_at(16)
    assert (x[:, 0, 0, 0] * 127.5 + 127.5).round().tolist() == (6 * epochs[1][1::2]).tolist()
    assert c.argmax(1).tolist() == np.array(CLASSES)[epochs[1][1::2]].tolist()


def test_a_class_is_shown_in_another_order_each_time():
    order = Balanced(3, np.array(CLASSES), 1.0)  # 5 of the 12 pictures of class 0 in an epoch
    first, later = (sorted(i for i in order(epoch) if i < 12) for epoch in (0, 12))
    assert len(first) == len(later) == 5
    assert first != later  # both begin a round


def test_classes_are_needed_to_balance_them():
    for labels in ([[0.5, 0.5]] * 4, [[1, 1]] * 4, [[0.0, 0.0]] * 4):
        data = OfClasses([0] * 4, labels)
        BatchLoader(data, 2, seed=0)
        with pytest.raises(ValueError, match="class_balance needs labels that are classes, got"):
            BatchLoader(data, 2, seed=0, class_balance=0.5)
    with pytest.raises(ValueError, match="balance must be from 0 to 1, got 2"):
        BatchLoader(OfClasses(CLASSES), 2, seed=0, class_balance=2)
