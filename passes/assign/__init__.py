"""A format for each node's weights: what each choice loses, what it costs, and the best of them within budgets.

`probe` runs the float model with the rounded weights of single nodes in place; each metric (`output_noise`,
`divergence`, `curvature`) makes losses that add up over nodes from that, and `output_noise` also how the errors of two
nodes act together. `problem` holds losses and costs, `allocate` solves the integer program, `refine` improves its
answer where errors of nodes cancel or add, `front` asks for a series of budgets, and `patterns` reads what a user
fixed for single nodes.
"""
