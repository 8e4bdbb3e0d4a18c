"""What a run needs, before anything is loaded: `predict`, `largest_batch_gpu`, `sec_per_kimg`.

flops            operations of one operator, by its arguments
operator_trace   the operators that run inside, their work and the memory that lives
step_on_meta     a training step on tensors without memory
memory           the peak of one process; the largest batch_gpu that fits
prediction       predict: all of it for one configuration
"""
