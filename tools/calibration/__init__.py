"""`bevel calibration`: how much hangs on which samples a model is calibrated with, and how many."""
