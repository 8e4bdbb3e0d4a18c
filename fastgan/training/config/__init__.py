# SPDX-License-Identifier: Apache-2.0
"""The configuration of a run: frozen dataclasses that go to JSON and back.

step            StepConfig: losses, penalties, optimisers and moving average of one step
optimizer       OptimizerConfig, EmaConfig, ScheduleConfig: parts of it
run             TrainConfig: a step with data, model, augmentation, length and metrics
requirements    the error of a value that is out of range
json_dataclass  dataclasses to JSON values and back
published/      the published configurations of StyleGAN2-ADA, StyleGAN3 and R3GAN
recipes/        configurations that are known to work, one file each
"""
