# SPDX-License-Identifier: Apache-2.0
"""The predicted peak against that of real steps on the CPU: live tensors, and resident memory."""

import dataclasses
import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fastgan.training import Batch, build_state, largest_batch_gpu, load_recipe, predict
from fastgan.training.config.published import r3gan, stylegan2, stylegan3
from fastgan.training.distributed.replica import replicate
from fastgan.training.needs.memory import COMPARED, MOST_OFF
from fastgan.training.needs.operator_trace import OperatorTrace
from fastgan.training.needs.step_on_meta import state_tensors
from fastgan.training.step import phases

SMALL = {"channel_base": 256, "channel_max": 32, "z_dim": 32, "w_dim": 32, "mapping_layers": 2}
PLAIN = {"mode": "noaug"}
BYTES_80_GB = 80 * 10**9 - 2**30  # without what CUDA's context and NCCL take


def published_stylegan2(*, size=16, batch=8, augment=PLAIN, **changes):
    """With every phase, at a small width."""
    changes = {"model": SMALL, "pl_weight": 2.0, "g_reg_interval": 2, "d_reg_interval": 2} | changes
    config = stylegan2.published("auto", resolution=(size, size), batch=batch)
    return config.with_changes(augment=augment, **changes)


def published_stylegan3():
    config = stylegan3.published("stylegan3-r", resolution=(16, 16), batch=4, r1_gamma=1.0)
    model = {"channel_base": 256, "channel_max": 32, "num_layers": 4}
    model |= {"d_channel_base": 256, "d_channel_max": 32}
    return config.with_changes(model=model, augment=PLAIN, batch_gpu=None, blur_init_sigma=2.0)


def published_r3gan():
    model = {"widths": (48,) * 4, "groups": (6,) * 4, "bf16_stages": ()}
    config = r3gan.published("CIFAR10", batch=4)
    return config.with_changes(model=model, augment=PLAIN, schedule={"augment_p_end": None})


CONFIGS = {
    "stylegan2": lambda: published_stylegan2(batch_gpu=None),
    "stylegan2, ADA, two micro-batches": lambda: published_stylegan2(
        batch_gpu=4, augment={"mode": "ada", "p": 0.2}, pl_weight=0.0
    ),
    "stylegan3-r": published_stylegan3,
    "r3gan": published_r3gan,
    "dcgan, bf16": lambda: load_recipe("dcgan")(
        resolution=(16, 12), c_dim=3, batch=8, precision="bf16"
    ),
    "faces": lambda: load_recipe("faces")(resolution=(16, 16), batch=8),
}

SLOW = ("stylegan2, ADA, two micro-batches", "stylegan3-r")
CHECKED = [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in CONFIGS]


@functools.cache
def predicted(name, device_type="cuda", batch_gpu=None):
    """Once for all tests of one configuration."""
    return predict(CONFIGS[name](), device_type=device_type, batch_gpu=batch_gpu)


def trace_real_step(config):
    """Each phase's trace on real CPU tensors, the second time that it runs."""
    config = dataclasses.replace(config, device="cpu", capture="off")
    state = build_state(config)
    replicate(state, None)
    model, n = config.model, config.batch
    x = torch.rand(n, model.img_channels, model.img_height, model.img_width)
    batch = Batch(
        x=x, c=torch.eye(model.c_dim)[torch.arange(n) % model.c_dim] if model.c_dim else None
    )
    traces = {}
    for phase, options in phases.planned(0, config) * 2:  # a first call may build caches
        trace = OperatorTrace([*state_tensors(state), x])
        with trace:
            phase(state, batch, **options)
        traces[phase.__name__, tuple(options)] = trace
    return traces


@pytest.mark.parametrize("name", CHECKED)
def test_the_peak_of_live_tensors_is_predicted(name):
    """As near as `--dry-run` says, for as many configurations."""
    assert len(CONFIGS) == COMPARED
    assert MOST_OFF == 0.02
    memory, real = predicted(name, "cpu").memory, trace_real_step(CONFIGS[name]())
    peak = max(trace.peak for trace in real.values())
    assert memory.activations == pytest.approx(peak, rel=MOST_OFF)
    assert memory.phase in {phase for (phase, _), t in real.items() if t.peak == peak}


def test_all_state_is_counted():
    """Parameters five times for G (gradient, two moments, average) and four times for D."""
    config, memory = CONFIGS["stylegan2"](), predicted("stylegan2").memory
    state = build_state(config)
    flats = [state.g_optimizer.flat, state.d_optimizer.flat]
    sizes = [4 * flat.values.numel() for flat in flats]
    gradients = sum(4 * flat.gradients_and_scalars.numel() for flat in flats)
    assert memory.parameters == sum(sizes)
    assert (memory.gradients, memory.moments, memory.average) == (
        gradients, 2 * sum(sizes), sizes[0]
    )  # fmt: skip
    x = 4 * config.batch * 3 * 16 * 16
    buffers = [b for m in (state.G, state.D, state.G_ema) for b in m.buffers()]
    assert memory.other >= x + sum(4 * b.numel() for b in buffers)


def test_half_precision_maps_are_predicted_for_cuda_alone():
    assert CONFIGS["stylegan2"]().model.half_dtype in ("bfloat16", "float16")
    on_gpu, on_cpu = (predicted("stylegan2", kind) for kind in ("cuda", "cpu"))
    assert on_gpu.memory.activations < 0.75 * on_cpu.memory.activations
    assert on_gpu.step_flops == on_cpu.step_flops


def test_more_samples_at_once_need_more_memory_and_the_same_work():
    few, many = predicted("stylegan2", batch_gpu=4), predicted("stylegan2")
    assert (few.batch_gpu, many.batch_gpu) == (4, 8)
    assert few.memory.activations < 0.65 * many.memory.activations
    assert few.step_flops.matrix == pytest.approx(many.step_flops.matrix, rel=0.01)


def test_an_exchange_in_buckets_has_no_copies_of_all_parameters():
    """Each layer casts its own: more operators run, and fewer copies live."""
    config = load_recipe("dcgan")(resolution=(16, 16), batch=8, precision="bf16")

    def casts(buckets, gpus):
        made = predict(config.with_changes(exchange_buckets=buckets), gpus=gpus)
        return sum(phase.operators for phase in made.phases)

    assert casts(4, 1) == casts(1, 1)  # one process exchanges nothing
    assert casts(4, 2) > 1.05 * casts(1, 2)


def test_the_largest_batch_gpu_that_fits():
    """Of 2, 4, 6 and 12 samples, 4 and 12 split no minibatch-stddev group of 4."""
    config = published_stylegan2(size=8, batch=24, pl_weight=0.0, r1_gamma=0.0)
    needs = predict(config, batch_gpu=12, gpus=2).memory.total
    assert largest_batch_gpu(config, needs, gpus=2) == 12
    assert largest_batch_gpu(config, needs - 1, gpus=2) == 4
    assert largest_batch_gpu(config, needs // 10, gpus=2) is None


def test_imagenet_64_of_r3gan_fits_in_80_gb():
    """An eighth of the batch, 512 images at once, would need 394 GB."""
    at_once = r3gan.published("ImageNet-64", gpus=8).batch_gpu
    config = r3gan.published("ImageNet-64", batch=at_once, batch_gpu=None)
    assert predict(config).memory.total <= BYTES_80_GB


@pytest.mark.slow
@pytest.mark.parametrize("name", r3gan.PUBLISHED)
def test_r3gan_computes_an_eighth_of_the_batch_or_what_fits_in_80_gb(name):
    config = r3gan.published(name)
    assert config.batch_gpu == min(config.batch // 8, largest_batch_gpu(config, BYTES_80_GB))


RESIDENT = """
import sys
import torch
from fastgan.training import predict
sys.path.insert(0, {folder!r})
from test_memory import CONFIGS, build_state, phases, replicate, Batch, dataclasses
def status(key):
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) * 1024
config = dataclasses.replace(CONFIGS[{name!r}](), device="cpu", capture="off")
config = config.with_changes(batch=config.batch * {times}, batch_gpu=None)
predicted = predict(config, device_type="cpu").memory
small = config.with_changes(batch=max(config.batch // {times}, 4))
before = None
for c in (small, config):
    state = build_state(c)
    replicate(state, None)
    batch = Batch(x=torch.rand(c.batch, 3, c.model.img_height, c.model.img_width))
    if c is config:
        open("/proc/self/clear_refs", "w").write("5")
        before = status("VmRSS")
    for phase, options in phases.planned(0, c):
        phase(state, batch, **options)
print(status("VmHWM") - before, predicted.activations)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/status")
@pytest.mark.parametrize(("name", "times"), [("stylegan2", 64)])
def test_resident_memory_grows_as_predicted(name, times):
    """From before a step to its highest, where the allocator maps every block by itself: the
    activations, and what convolutions allocate inside: at most 40 % more."""
    code = RESIDENT.format(folder=str(Path(__file__).parent), name=name, times=times)
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=200,
        env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"},
    )  # fmt: skip
    grown, predicted = map(int, done.stdout.split())
    print(f"{name}: {grown / 2**20:.0f} MiB, predicted {predicted / 2**20:.0f} MiB")
    assert 0.95 * predicted <= grown <= 1.4 * predicted
