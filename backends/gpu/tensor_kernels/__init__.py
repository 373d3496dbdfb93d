"""Kernels for GPUs whose warps multiply matrices of int8: CUDA alone."""
