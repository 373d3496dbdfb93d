"""Evaluate the small expressions of TVMScript without compiling each.

TVM 0.27 evaluates an expression from its leaves up: what an operand came to is put into a table under a name, and an
operator on such names becomes a Python tree, which is compiled and evaluated (`_eval_expr` in
tvm/script/parser/core/evaluator.py): most of the time of parsing. Nearly all of these are a name, a constant, or an
attribute, an index or a call of names, which need no compiler. A call is made in a frame whose globals are the table,
since a macro finds its parser there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm.script.parser.core import doc, evaluator

Table = dict[str, Any]

CALL = compile("function(*values, **named)", "<call>", "eval")

compiled: Callable[[Any, Table | None], Any] = evaluator._eval_expr  # as TVM has it


def evaluated(node: Any, table: Table | None) -> Any:
    """What `node` comes to, with the names of `table`."""
    if table is None or not is_small(node):
        return compiled(node, table)
    match node:
        case doc.Attribute():
            return getattr(leaf(node.value, table), node.attr)
        case doc.Subscript():
            return leaf(node.value, table)[leaf(node.slice, table)]
        case doc.Call():
            values = [leaf(one, table) for one in node.args]
            named = {one.arg: leaf(one.value, table) for one in node.keywords}
            return eval(CALL, table, {"function": leaf(node.func, table), "values": values, "named": named})
        case _:
            return leaf(node, table)


def is_small(node: Any) -> bool:
    match node:
        case doc.Attribute():
            return is_leaf(node.value)
        case doc.Subscript():
            return is_leaf(node.value) and is_leaf(node.slice)
        case doc.Call():
            named = all(one.arg is not None and is_leaf(one.value) for one in node.keywords)
            return named and is_leaf(node.func) and all(map(is_leaf, node.args))
        case _:
            return is_leaf(node)


def is_leaf(node: Any) -> bool:
    return isinstance(node, doc.Name | doc.Constant)


def leaf(node: Any, table: Table) -> Any:
    if isinstance(node, doc.Constant):
        return node.value
    return table[node.id] if node.id in table else compiled(node, table)  # a builtin, or none


def install() -> None:
    """From now on TVM's parser of TVMScript evaluates so, in the whole process."""
    evaluator._eval_expr = evaluated
