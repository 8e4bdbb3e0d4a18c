# SPDX-License-Identifier: Apache-2.0
"""One training step: plain functions of a state and a batch, eager or as CUDA graphs.

batch           Batch, and how it is split over ranks and micro-batches
state           StepState and TrainState, what a checkpoint holds, and how they are made
state_tensors   the one list of a state's tensors, with their roles
context         StepContext, how a state's phases are run in this process
phases          d_step, g_step and the others, and train_step, which runs them
update          what every phase does with its losses
scalars         device scalars that change from step to step
losses          what the phases minimise
generate        samples of G with style mixing
statistics      means of losses and logits, on the device
moving_buffers  means of buffers such as w_avg over micro-batches
precision       float32, or bfloat16 under autocast
capture         each phase as one CUDA graph
capture_guard   errors that name the module that can't be captured
fault_record    what was decided about NaN so far
train_step      TrainStep, the step for a user's own loop
"""
