# SPDX-License-Identifier: Apache-2.0
"""Phases that no CUDA graph could hold, each with the words in which the lint must refuse it.

Every function is the body of a phase over a `Toy`. What stands in `@caught(kind, message, line)`
must come out in one finding: the kind, a part of the message, a part of the source line.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from toy import Toy

__all__ = ["PLANTED", "Violation"]


@dataclass(frozen=True)
class Violation:
    """body: the phase. kind, message, line: what the lint must say of it."""

    body: Callable[[Toy], None]
    kind: str
    message: str
    line: str
    prepare: Callable[[Toy], None] | None


PLANTED: dict[str, Violation] = {}


def caught(
    kind: str, message: str, line: str = "", prepare: Callable[[Toy], None] | None = None
) -> Callable[[Callable[[Toy], None]], Callable[[Toy], None]]:
    """Registers a violation under its function's name. `prepare` changes the Toy beforehand."""

    def register(body: Callable[[Toy], None]) -> Callable[[Toy], None]:
        PLANTED[body.__name__] = Violation(body, kind, message, line, prepare)
        return body

    return register


def _plain_adam(toy: Toy) -> None:
    toy.optimizer = torch.optim.Adam(toy.D.parameters(), lr=0.1)


def _sgd(toy: Toy) -> None:
    toy.optimizer = torch.optim.SGD(toy.D.parameters(), lr=0.1)


@caught("cpu tensor", "aten.add_.Tensor runs on the CPU", "self.optimizer.step()", _plain_adam)
def adam_not_capturable(toy: Toy) -> None:
    toy.apply(toy.loss())


@caught("host copy", "cpu → cuda", ".to(toy.x.device)")
def host_to_device_copy(toy: Toy) -> None:
    ones = torch.ones(8, device="cpu")
    toy.apply(toy.loss(toy.x + ones.to(toy.x.device)))


@caught("host copy", "0.5", "torch.tensor(0.5, device=toy.x.device)")
def tensor_literal_on_device(toy: Toy) -> None:
    toy.apply(toy.loss(toy.x * torch.tensor(0.5, device=toy.x.device)))


@caught("cpu tensor", "baked into the graph", "toy.x * half")
def tensor_literal_on_host(toy: Toy) -> None:
    half = torch.tensor(0.5)
    toy.apply(toy.loss(toy.x * half))


@caught("host copy", "cpu tensor [2]", "toy.x[[0, 2]]")
def indexed_by_a_list(toy: Toy) -> None:
    toy.apply(toy.loss(toy.x[[0, 2]]))


@caught("host random numbers", "random drew", "random.random()")
def python_rng(toy: Toy) -> None:
    toy.apply(toy.loss(toy.x * random.random()))


@caught("frozen control flow", "aten.flip", "")
def python_rng_of_its_own(toy: Toy) -> None:
    flips = random.Random(toy.step).random() < 0.5
    toy.apply(toy.loss(toy.x.flip(1) if flips else toy.x))


@caught("host random numbers", "numpy.random drew", "np.random.rand()")
def numpy_rng(toy: Toy) -> None:
    toy.apply(toy.loss(toy.x * float(np.random.rand())))


@caught("host copy", "copies cpu → cuda", "noise.to(toy.x.device)")
def numpy_array(toy: Toy) -> None:
    noise = torch.from_numpy(np.zeros((4, 8))).float()
    toy.apply(toy.loss(toy.x + noise.to(toy.x.device)))


@caught("host random numbers", "torch.manual_seed gave", "torch.randn_like")
def reseeded(toy: Toy) -> None:
    torch.manual_seed(toy.step)
    toy.apply(toy.loss(toy.x + torch.randn_like(toy.x)))


@caught("explicit generator", "aten.randn.generator", "generator=generator")
def explicit_generator(toy: Toy) -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(4, 8, generator=generator)
    toy.apply(toy.loss(toy.x + noise.to(toy.x.device)))


@caught("host sync", "aten._local_scalar_dense", "if not torch.isfinite(loss)")
def nan_check_on_the_host(toy: Toy) -> None:
    loss = toy.loss()
    if not torch.isfinite(loss):
        return
    toy.apply(loss)


@caught("host sync", "aten._local_scalar_dense", "loss.item()")
def item_logging(toy: Toy) -> None:
    loss = toy.loss()
    toy.apply(loss)
    toy.logged = loss.item()


@caught("host sync", "aten._local_scalar_dense", "stats.tolist()")
def statistics_read_in_the_phase(toy: Toy) -> None:
    stats = torch.stack([toy.mean, toy.p])
    toy.apply(toy.loss())
    toy.logged = stats.tolist()


@caught("host sync", "aten._local_scalar_dense", "clip_grad_norm_")
def clip_grad_norm_with_check(toy: Toy) -> None:
    toy.optimizer.zero_grad()
    toy.loss().backward()
    nn.utils.clip_grad_norm_(toy.D.parameters(), 1.0, error_if_nonfinite=True)
    toy.optimizer.step()


def _grad_scaler(toy: Toy) -> None:
    _sgd(toy)
    toy.scaler = torch.amp.GradScaler("cuda")


@caught("host sync", "aten._local_scalar_dense", "toy.scaler.step", _grad_scaler)
def grad_scaler(toy: Toy) -> None:
    toy.optimizer.zero_grad()
    toy.scaler.scale(toy.loss()).backward()
    toy.scaler.step(toy.optimizer)
    toy.scaler.update()


@caught("host sync", "shape that depends on values", "y[y > 0]")
def boolean_mask(toy: Toy) -> None:
    y = toy.D(toy.x)
    toy.apply(y[y > 0].mean())


@caught("host sync", "aten._unique2", "torch.unique(")
def data_dependent_shape(toy: Toy) -> None:
    toy.apply(toy.loss() * torch.unique(toy.x).numel())


@caught("host sync", "aten.nonzero", "torch.nonzero(")
def nonzero(toy: Toy) -> None:
    rows = torch.nonzero(toy.x[:, 0])
    toy.apply(toy.loss(toy.x.index_select(0, rows[:, 0])))


@caught("host copy", "cuda → cpu", "toy.x.cpu()")
def images_to_the_host(toy: Toy) -> None:
    toy.apply(toy.loss())
    toy.picture = toy.x.cpu()


@caught("host sync", "torch.cuda.synchronize waits", "torch.cuda.synchronize()")
def synchronize(toy: Toy) -> None:
    toy.apply(toy.loss())
    torch.cuda.synchronize()


@caught("not runnable", "devices", "toy.x + noise")
def batch_on_the_host(toy: Toy) -> None:
    noise = torch.ones(4, 8)
    toy.apply(toy.loss(toy.x + noise))


def _gru(toy: Toy) -> None:
    toy.gru = nn.GRUCell(8, 6).to("cuda")
    toy.D = nn.Linear(6, 1).to("cuda")


@caught("not runnable", "aten._thnn_fused_gru_cell.default has no shape rule", "toy.gru(", _gru)
def layer_without_a_shape_rule(toy: Toy) -> None:
    toy.apply(toy.loss(toy.gru(toy.x)))


@caught("frozen control flow", "in run 2", "toy.D(toy.x).square()")
def lazy_regularisation_by_host_counter(toy: Toy) -> None:
    loss = toy.loss()
    if toy.step % 2 == 0:
        loss = loss + toy.D(toy.x).square().mean()
    toy.apply(loss)


@caught("frozen value", "-0.05 → -0.03", "self.optimizer.step()", _sgd)
def float_lr_schedule(toy: Toy) -> None:
    toy.optimizer.param_groups[0]["lr"] = toy.lr
    toy.apply(toy.loss())


@caught("frozen value", "0.5 → ", "torch._foreach_lerp_")
def ema_warm_up_on_the_host(toy: Toy) -> None:
    toy.apply(toy.loss())
    weight = 1 / (toy.step + 1)
    with torch.no_grad():
        torch._foreach_lerp_(toy.D_ema, list(toy.D.parameters()), weight)


@caught("frozen value", "0.1 → 0.2", "< toy.p_host")
def augment_strength_on_the_host(toy: Toy) -> None:
    is_flipped = torch.rand(4, 1, device=toy.x.device) < toy.p_host
    toy.apply(toy.loss(torch.where(is_flipped, toy.x.flip(1), toy.x)))


@caught("frozen value", "toy.x [4, 8]", "toy.D(x)")
def buffers_swapped_by_the_host(toy: Toy) -> None:
    x = toy.x if toy.step % 2 else toy.other_x
    toy.apply(toy.D(x).mean())


@caught("frozen value", "[4, 8] with strides [8, 1]", "toy.D(x)")
def last_batch_is_smaller(toy: Toy) -> None:
    x = toy.x[:3] if toy.step == 3 else toy.x[:4]
    toy.apply(toy.D(x).mean())


@caught("replaced tensor", "toy.mean is another tensor", "toy.mean.lerp(")
def replaced_state_tensor(toy: Toy) -> None:
    loss = toy.loss()
    toy.apply(loss)
    toy.mean = toy.mean.lerp(loss.detach(), 0.1)


@caught("replaced tensor", "toy.mean is another tensor", "F.softplus")
def replaced_data(toy: Toy) -> None:
    toy.mean.data = toy.loss().detach()


def _replacing_host(toy: Toy) -> None:
    toy.host_replaces = True


@caught("replaced tensor", "toy.p is another tensor when run 2 begins", "", _replacing_host)
def tensor_replaced_by_the_host(toy: Toy) -> None:
    toy.apply(toy.loss(toy.x * toy.p))


@caught("replaced tensor", "toy.history[")
def kept_tensor(toy: Toy) -> None:
    loss = toy.loss()
    toy.apply(loss)
    toy.history = [*getattr(toy, "history", []), loss.detach()]


@caught("host value changed", "toy.seen is changed by the phase, 4 → 8")
def counter_in_the_phase(toy: Toy) -> None:
    toy.apply(toy.loss())
    toy.seen = getattr(toy, "seen", 0) + 4


@caught("foreign tensor", "toy.D.1.bias.grad", "toy.loss().backward()", _sgd)
def gradient_of_an_earlier_phase(toy: Toy) -> None:
    toy.loss().backward()
    toy.optimizer.step()


_CACHE: dict[str, Tensor] = {}


@caught("foreign tensor", "nothing given to the lint holds", "toy.x * _CACHE")
def cached_outside_the_state(toy: Toy) -> None:
    if toy.step == 0:
        _CACHE["scale"] = torch.ones(8, device=toy.x.device)
    toy.apply(toy.loss(toy.x * _CACHE["scale"]))
