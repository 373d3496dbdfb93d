"""Transforms that leave the float function as it is and its tensors flatter: scales of channels, shifts, rotations.

Each is a pass of the stage `transform`, run before anything is observed, and proven by running the float model before
and after. `flow` finds where scales are free.
"""
