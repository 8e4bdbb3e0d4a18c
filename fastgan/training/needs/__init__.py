# SPDX-License-Identifier: Apache-2.0
"""What a run needs, before anything is loaded.

flops           operations of one operator, by its arguments
operator_trace  the operators that run inside, their work and the memory that lives
step_on_meta    a training step on tensors without memory
memory          largest_batch_gpu: the largest that fits; the peak of one process
prediction      predict: all of it for one configuration
recompute       choose_recompute: whether the backward pass makes maps again, by a device's memory
time            sec_per_kimg: seconds by a roofline
"""
