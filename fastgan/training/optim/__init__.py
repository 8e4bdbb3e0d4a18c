# SPDX-License-Identifier: Apache-2.0
"""Optimisation of one network over flat buffers.

flat_parameters  parameters and gradients as views of two flat buffers
flat_copies      what layers make of parameters in a phase, made all at once
flat_optimizer   what the optimisers share: checks, state, exchange with torch's
flat_adam        Adam and AdamW, with the moving average in the same pass over memory
flat_rmsprop     RMSprop, with the moving average
optimizers       the optimiser of a network as its configuration says
ema              the weight of the moving average, and the average without an optimiser
"""
