"""The step form of a model over a time axis: what a stream of columns is given, one step after the other.

A model that is trained on a window of time computes, in each run, mostly what it computed in the run before: the window
moved on by a column. The step form keeps what later steps still need as state, and computes only what is new. Its
results are those of the full form, bit for bit where that computes in integers: the same nodes read the same numbers.
"""
