"""What a model keeps from one run to the next: which of its inputs are the outputs of the run before."""
