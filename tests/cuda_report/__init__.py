"""What the CUDA kernels cost, read off their machine code and off a model: no GPU is involved."""
