"""Kernels for GPUs beside the plain loops of every machine."""
