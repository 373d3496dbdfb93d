"""A format for each node's weights, under the budgets of the command line: `run` is the data flow."""
