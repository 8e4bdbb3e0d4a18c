# SPDX-License-Identifier: Apache-2.0
"""Copies to a GPU on a stream of their own; their order is checked without a GPU."""

import gc
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from fastgan.data import BatchLoader
from fastgan.data.device_copies import DeviceCopies
from fastgan.training.loop.source import CopyingLoader

sys.path.insert(0, str(Path(__file__).parent))
from recorded_streams import Event, Race, RecordedStreams, Stream

CUDA = torch.device("cuda")


class Numbered:
    image_shape, label_dim = (1, 2, 3), 1

    def __len__(self):
        return 7

    def __getitem__(self, i):
        x = np.arange(6, dtype=np.uint8).reshape(1, 2, 3) + np.uint8(6 * i)
        return x, np.array([i], dtype=np.float32)


class Packed(Numbered):
    def take(self, indices):
        images, labels = zip(*(self[i] for i in indices), strict=True)
        return np.stack(images), np.stack(labels)


def batches(device, dataset=Numbered, *, mirror=True, ram_limit=0, part=(0, 2), on_device="off"):
    loader = BatchLoader(
        dataset(), 4, seed=3, device=device, mirror=mirror, ram_limit=ram_limit, part=part,
        workers=2, on_device=on_device,
    )  # fmt: skip
    found = []
    for position in (0, 4, 8, 20, 24):  # the batch ahead is another one at 20
        x, c = loader.batch_at(position)
        found.append((x + 0, c + 0))  # as a step reads them
        x, c = loader.whole.batch_at(position)
        found.append((x + 0, c + 0))
    loader._pool.shutdown()
    return found


@pytest.mark.parametrize(
    ("dataset", "options"),
    [(Numbered, {}), (Numbered, {"ram_limit": 2**20}), (Packed, {}), (Numbered, {"mirror": False})],
    ids=["from files", "from memory", "packed", "not mirrored"],
)
def test_batches_are_copied_on_their_own_stream_and_read_after_it(monkeypatch, dataset, options):
    expected = batches("cpu", dataset, **options)
    with RecordedStreams(monkeypatch) as streams:
        found = batches(CUDA, dataset, **options)
    gc.collect()
    for batch, wanted in zip(found, expected, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(batch, wanted, strict=True))
    assert {m.writer.name for m in streams.memories} == {"copying"}
    assert threading.main_thread() not in {m.thread for m in streams.memories}
    assert any(m.readers == {"copying", "computing"} for m in streams.memories)
    assert streams.races == []


def test_the_next_batch_is_copied_before_it_is_asked_for(monkeypatch):
    with RecordedStreams(monkeypatch) as streams:
        loader = BatchLoader(Numbered(), 4, seed=3, device=CUDA, ram_limit=0, workers=2)
        loader.batch_at(0)
        loader._pool.shutdown()
        assert len(streams.memories) == 4  # x and c of two batches


def test_places_in_resident_images_are_copied_on_that_stream_too(monkeypatch):
    with RecordedStreams(monkeypatch) as streams:
        loader = BatchLoader(Numbered(), 4, seed=3, mirror=True, workers=2)
        loader._copies = DeviceCopies(CUDA)
        indices, flips = loader.places_at(4)
        assert (indices + 0).tolist() == loader.indices_at(4)[0].tolist()
        assert (flips | flips).tolist() == loader.indices_at(4)[1].tolist()
        del indices, flips
    assert [m.writer.name for m in streams.memories] == ["copying"] * 2
    assert streams.races == []


def test_the_host_does_not_wait_for_the_batches_of_another_loader(monkeypatch):
    class Own:
        def batch_at(self, position):
            return torch.full([2, 3], float(position)), None

    with RecordedStreams(monkeypatch) as streams:
        loader = CopyingLoader(Own(), CUDA)
        x, c = loader.batch_at(4)
        assert c is None
        assert (x + 0).tolist() == [[4.0] * 3] * 2
        del x
    assert [m.writer.name for m in streams.memories] == ["copying"]
    assert streams.races == []


def before_the_copies(self, *tensors):
    event = self._stream.record_event()
    sent = SEND(self, *tensors)
    return sent._replace(copied=event)


def on_the_computing_stream(self, *tensors):
    sent = SEND(self, *tensors)
    return sent._replace(copied=torch.cuda.current_stream(CUDA).record_event())


SEND = DeviceCopies.send


@pytest.mark.parametrize(
    ("where", "name", "fault"),
    [
        (Stream, "wait_event", lambda self, event: None),
        (Event, "__init__", lambda self, known: setattr(self, "known", {})),
        (DeviceCopies, "send", before_the_copies),
        (DeviceCopies, "send", on_the_computing_stream),
    ],
    ids=["no wait", "an event that knows nothing", "an event too early", "an event elsewhere"],
)
def test_a_copy_that_is_read_too_early_is_found(monkeypatch, where, name, fault):
    monkeypatch.setattr(where, name, fault)
    with RecordedStreams(monkeypatch), pytest.raises(Race, match="does not wait for copying"):
        batches(CUDA)


def test_memory_that_is_given_back_too_early_is_found(monkeypatch):
    with RecordedStreams(monkeypatch) as streams:
        monkeypatch.setattr(torch.Tensor, "record_stream", lambda t, stream: None)
        batches(CUDA)
    gc.collect()
    assert set(streams.races) == {"memory is given back while computing still reads it"}
