# SPDX-License-Identifier: Apache-2.0
"""Training: configurations, the step, the loop, checkpoints, logs and recipes.

`load_recipe(name)` gives a function that makes a `TrainConfig`; `train(config, run_dir)` runs it;
`load_generator(run_dir)` loads its generator, and `start_from` begins a new run with its weights.
`TrainStep` is one step of any two networks, for a user's own loop. Each package imports from those
above it only:

    config       what a run is made of, and recipes
    optim        Adam, AdamW, RMSprop and moving average over flat buffers
    step         one training step, eager or as CUDA graphs
    checkpoint   saving and exact resume
    distributed  several processes
    needs        parameters, operations and memory of a run, before anything is loaded
    loop         steps, ticks, snapshots, NaN and signals
    report       logs, pictures and a page
"""

from fastgan.training.checkpoint.checkpoint import CheckpointError, load_generator
from fastgan.training.checkpoint.contents import digest
from fastgan.training.checkpoint.transfer import start_from
from fastgan.training.config.recipes import load_recipe
from fastgan.training.config.run import (
    AugmentConfig,
    DataConfig,
    EmaConfig,
    InitConfig,
    OptimizerConfig,
    ScheduleConfig,
    StepConfig,
    TrainConfig,
)
from fastgan.training.loop.faults import FaultPolicy, TrainingDiverged
from fastgan.training.loop.loop import sample_grid, train
from fastgan.training.loop.observer import Alarm, Observer, RunInfo, Snapshot, Tick
from fastgan.training.needs.memory import Memory, largest_batch_gpu
from fastgan.training.needs.prediction import Prediction, predict
from fastgan.training.needs.time import Gpu, sec_per_kimg
from fastgan.training.report.log import RunLog
from fastgan.training.report.tensorboard import TensorBoard
from fastgan.training.report.weights_and_biases import WeightsAndBiases
from fastgan.training.step.batch import Batch
from fastgan.training.step.health.watch import HealthWarning
from fastgan.training.step.phases import train_step
from fastgan.training.step.state import TrainState, build_state, create_state
from fastgan.training.step.train_step import TrainStep

__all__ = [
    "Alarm",
    "AugmentConfig",
    "Batch",
    "CheckpointError",
    "DataConfig",
    "EmaConfig",
    "FaultPolicy",
    "Gpu",
    "HealthWarning",
    "InitConfig",
    "Memory",
    "Observer",
    "OptimizerConfig",
    "Prediction",
    "RunInfo",
    "RunLog",
    "ScheduleConfig",
    "Snapshot",
    "StepConfig",
    "TensorBoard",
    "Tick",
    "TrainConfig",
    "TrainState",
    "TrainStep",
    "TrainingDiverged",
    "WeightsAndBiases",
    "build_state",
    "create_state",
    "digest",
    "largest_batch_gpu",
    "load_generator",
    "load_recipe",
    "predict",
    "sample_grid",
    "sec_per_kimg",
    "start_from",
    "train",
    "train_step",
]
