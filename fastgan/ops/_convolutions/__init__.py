"""Convolutions made of ops, or of torch's convolution where that is faster."""
