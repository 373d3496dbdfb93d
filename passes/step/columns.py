"""How a tensor of the full form lies in time, and what of it a stream has at the end of each step.

The full form sees a window of columns, 0 to length - 1. A step brings `period` columns of the input; a tensor whose
columns stand for `stride` columns of the input gets period / stride of its own. In the step that brings the window's
last column, a tensor has its columns up to length - 1 - late: those behind read padding where a stream has columns that
have not come yet. Its first `edge` columns read padding before the window, directly or not: they are those of a stream
that begins with the window, and of no other.

So of its columns, a stream has those from `edge` to `length - late`. The others, where a window is read as a whole, are
computed anew in each step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto
from fractions import Fraction

Range = tuple[int, int]  # of columns: the first, and the one behind the last


class Unseen(Enum):
    """What a row of scores has of columns that have not come: scores as of others, so low ones that a Softmax makes
    nothing of them, or zeros."""

    COUNTED = auto()
    BARRED = auto()
    ZERO = auto()


@dataclass(frozen=True)
class Columns:
    """`axis` is the one of time. late_by, edge_by: the nodes that made it so, for what people are told. bound: what it
    is depends on where the sequence begins, in all columns. unlike: a node that pads with what no state of zeros is.

    Scores have another axis of time, `across`: of the columns that each column looks at. They are `open` as long as
    those that have not come yet count (`unseen`).
    """

    axis: int
    length: int
    stride: Fraction = Fraction(1)
    late: int = 0
    edge: int = 0
    late_by: str = ""
    edge_by: str = ""
    bound: bool = False
    unlike: str = ""
    across: int | None = None
    unseen: Unseen = Unseen.COUNTED

    @property
    def last(self) -> int:
        """The index of the newest column at the end of the window."""
        return self.length - 1 - self.late

    @property
    def open(self) -> bool:
        return self.across is not None and self.unseen is Unseen.COUNTED

    def at(self, axis: int) -> Columns:
        moved = None if self.across is None else self.across + axis - self.axis
        return replace(self, axis=axis, across=moved)

    def bound_by(self, node: str) -> Columns:
        """The same, of a sequence that begins with the window."""
        return replace(self, edge=self.length, edge_by=self.edge_by or node, bound=True)

    @property
    def streamed(self) -> Range:
        """The columns of the window that a stream has."""
        return (0, 0) if self.edge >= self.length - self.late else (self.edge, self.length - self.late)

    @property
    def anew(self) -> tuple[Range, ...]:
        """Those that it has not, in order."""
        first, end = self.streamed
        return tuple(one for one in ((0, first), (end, self.length)) if one[0] < one[1])


@dataclass(frozen=True)
class Tick:
    """period: columns of the input in a step; length: of the window, in columns of the input."""

    period: int
    length: int

    @property
    def steps(self) -> int:
        """In which a window has come."""
        return -(-self.length // self.period)

    def fresh(self, columns: Columns) -> int:
        """New columns in each step."""
        return int(self.period / columns.stride)

    def before(self, columns: Columns) -> int:
        """Columns that a stream has had before the window's first, if it was reset where the window begins."""
        return self.fresh(columns) * self.steps - columns.last - 1


@dataclass(frozen=True)
class Stretch:
    """Columns of a window, and how many of padding are read before and behind them."""

    columns: Range
    before: int = 0
    behind: int = 0


@dataclass(frozen=True)
class Reach:
    """A sliding window: output j reads `extent` columns from j * stride - before on."""

    extent: int = 1
    stride: int = 1
    before: int = 0

    def covers(self, columns: Range) -> Range:
        """The columns that outputs [first, end) read, of padding too."""
        first = columns[0] * self.stride - self.before
        return first, (columns[1] - 1) * self.stride - self.before + self.extent

    def reads(self, columns: Range, length: int) -> Stretch:
        """What outputs [first, end) read of `length` columns."""
        first, end = self.covers(columns)
        within = min(max(first, 0), length), max(min(end, length), 0)
        return Stretch(
            (within[0], max(within)), min(max(-first, 0), end - first), min(max(end - length, 0), end - first)
        )


@dataclass(frozen=True)
class Slid:
    """The output's columns, and how many of those that it reads are kept from the steps before; below 0, so many of the
    new ones are not read."""

    columns: Columns
    kept: int


def slide(given: Columns, reach: Reach, length: int, node: str) -> Slid:
    """`length`: of the output in the full form.

    Output j can be computed when column j * stride - before + extent - 1 is there. So the newest is
    (last - extent + 1 + before) // stride, or the last that the full form has, and a step reads what is from the first
    column of its first new output on.
    """
    extent, stride, before = reach.extent, reach.stride, reach.before
    last = min((given.last - extent + 1 + before) // stride, length - 1)
    unread = given.last - (last * stride - before + extent - 1)
    edge = min(max(-(-(given.edge + before) // stride), 0), length) if given.edge > 0 or before > 0 else 0
    late = length - 1 - last
    found = Columns(
        given.axis,
        length,
        given.stride * stride,
        late,
        edge,
        (given.late_by or node) if late else "",
        (given.edge_by or node) if edge else "",
        given.bound,
        given.unlike,
    )
    return Slid(found, extent - stride + unread)
