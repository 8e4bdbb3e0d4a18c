"""Optimisation of one network over flat buffers: one pass over memory per update.

flat_parameters  parameters and gradients as views of two flat buffers
flat_adam        Adam with the moving average, which skips gradients that are not finite
ema              the weight of the moving average, and the average without FlatAdam
"""
