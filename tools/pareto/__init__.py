"""`bevel pareto`: what accuracy costs on a target, with one format for all nodes and with searched ones."""
