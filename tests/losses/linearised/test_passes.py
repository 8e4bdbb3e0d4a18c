# SPDX-License-Identifier: Apache-2.0
"""`linearised`: its passes, its memory, and the ways in which gradients leave it."""

import gc

import pytest
import torch
import torch.nn.functional as F
from linearised_critics import (
    assert_exact,
    by_double_backward,
    by_linearising,
    leaves,
    loss_of,
    plain,
    relative_errors,
)
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from fastgan.losses.gradient_penalty import gradient_norm_penalty
from fastgan.losses.linearised import linearise


class Copies(TorchDispatchMode):
    """Counts operators that move memory without computing."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket.__name__ in ("copy_", "clone", "_to_copy", "contiguous"):
            self.seen.append(func.name())
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_the_layout_is_kept(layout):
    torch.manual_seed(0)
    D = nn.Sequential(nn.Conv2d(3, 8, 3), nn.LeakyReLU(0.2), nn.Conv2d(8, 8, 3), nn.LeakyReLU(0.2))
    D = nn.Sequential(D, nn.Conv2d(8, 1, 12)).to(memory_format=layout)
    x = torch.randn(4, 3, 16, 16).contiguous(memory_format=layout)
    outcome = linearise(D, [x.detach().requires_grad_()])
    assert outcome.gradients[0].is_contiguous(memory_format=layout)
    loss = loss_of(outcome.logits, outcome.gradients)
    with Copies() as copies:
        loss.backward()
    assert copies.seen == []


class Convolutions(TorchDispatchMode):
    """Counts passes over convolutions, of either kind."""

    def __init__(self):
        super().__init__()
        self.forward = self.data = self.weight = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.convolution.default:
            self.forward += 1
        elif func is torch.ops.aten.convolution_backward.default:
            self.data += args[-1][0]
            self.weight += args[-1][1]
        return func(*args, **(kwargs or {}))


def test_loss_and_penalty_take_four_passes():
    D = nn.Sequential(*(nn.Sequential(nn.Conv2d(2, 2, 3), nn.ReLU()) for _ in range(3)))
    D = nn.Sequential(D, nn.Flatten(), nn.Linear(2, 1))
    with Convolutions() as passes:
        outcome = linearise(D, leaves(torch.randn(2, 2, 7, 7)))
        loss_of(outcome.logits, outcome.gradients).backward()
    assert passes.data == passes.weight == 3
    assert passes.forward == 3 + 3  # values and tangents


def test_nothing_outlives_the_backward_pass():
    """By counting references alone: a cycle would hold a step's activations into the next."""
    D, x = plain()
    seen = []
    D[1].register_forward_hook(
        lambda module, args, y: seen.append(StorageWeakRef(y.untyped_storage()))
    )
    gc.disable()
    try:
        logits, gradients, _ = linearise(D, leaves(x))
        loss = loss_of(logits, gradients)
        seen += [StorageWeakRef(t.untyped_storage()) for t in (logits, *gradients)]
        assert not any(ref.expired() for ref in seen)
        loss.backward()
        del logits, gradients, loss
        assert all(ref.expired() for ref in seen)
    finally:
        gc.enable()


def test_each_parameter_accumulates_once():
    D, x = plain()
    names = []
    for name, p in D.named_parameters():
        p.register_post_accumulate_grad_hook(lambda p, name=name: names.append(name))
    outcome = linearise(D, leaves(x))
    loss_of(outcome.logits, outcome.gradients).backward()
    assert sorted(names) == sorted(name for name, _ in D.named_parameters())


def test_distributed_data_parallel(tmp_path):
    D, x = plain()
    want = by_double_backward(D, x)[2]
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
    )
    reduced = []

    def reduce(state, bucket):
        reduced.append(bucket.buffer().numel())
        done = torch.futures.Future()
        done.set_result(2 * bucket.buffer())
        return done

    def backward():
        parallel = nn.parallel.DistributedDataParallel(D)
        parallel.register_comm_hook(None, reduce)
        outcome = linearise(parallel, leaves(x))
        assert outcome.reason is None
        loss_of(outcome.logits, outcome.gradients).backward()

    try:
        backward()
    finally:
        # The module's reducer must not be the last to hold the group: it frees it with Python's
        # lock held, for which a thread of gloo may wait that the group waits for.
        gc.collect()
        torch.distributed.destroy_process_group()
    assert sum(reduced) == sum(p.numel() for p in D.parameters())
    for name, p in D.named_parameters():
        torch.testing.assert_close(p.grad, 2 * want[name])


def test_noise_inside_the_critic():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.out, self.strength = nn.Linear(5, 4), nn.Linear(4, 1), nn.Linear(1, 4)

        def forward(self, x):
            h = self.a(x)
            return self.out(F.relu(h + self.strength.weight.T * torch.randn_like(h)))

    D, x = Noisy().double(), torch.randn(3, 5, dtype=torch.float64)
    torch.manual_seed(5)
    want = by_double_backward(D, x)[2]
    torch.manual_seed(5)
    got = by_linearising(D, x)[2]
    assert max(relative_errors(got, want).values()) < 1e-12


def test_a_checkpointed_block():
    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.block, self.out = nn.Sequential(nn.Linear(5, 4), nn.ReLU()), nn.Linear(4, 1)

        def forward(self, x):
            return self.out(checkpoint(self.block, x, use_reentrant=False))

    D, x = Checkpointed().double(), torch.randn(3, 5, dtype=torch.float64)
    assert assert_exact(D, x)


def test_bfloat16_parameters():
    D, x = plain(torch.float32)
    exact = by_double_backward(D, x)[2]
    D, x = D.bfloat16(), x.bfloat16()
    theirs = relative_errors(by_double_backward(D, x)[2], exact)
    mine = relative_errors(by_linearising(D, x)[2], exact)
    assert all(mine[name] <= max(0.02, 2 * theirs[name]) for name in exact)


class KeepsFeatures(nn.Module):
    """A critic that keeps what it computed, as for a loss of its own on the features."""

    def __init__(self):
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 8, 3), nn.Linear(8, 1)

    def forward(self, x):
        self.features = F.leaky_relu(self.conv(x), 0.2)
        return self.last(self.features.mean((2, 3)))


def test_a_loss_on_kept_features_beside_the_penalty():
    """Either of any size: the graph of the recorded forward pass is kept as long as they are."""
    torch.manual_seed(0)
    D, x = KeepsFeatures(), torch.randn(4, 3, 8, 8)
    found = []
    for method in ("linearised", "double_backward"):
        D.zero_grad()
        penalty = gradient_norm_penalty(D, x, method=method).mean()
        (penalty + D.features.square().mean()).backward()
        found.append([p.grad.clone() for p in D.parameters() if p.grad is not None])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_batch_norm_in_eval_mode_is_not_said_to_use_the_statistics_of_the_batch():
    D = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 1))
    for mode, words in ((True, "normalises by statistics"), (False, "is batch norm in eval mode")):
        with pytest.raises(NotImplementedError, match=words):
            gradient_norm_penalty(D.train(mode), torch.randn(4, 3, 8, 8), method="linearised")
