"""Choose a kernel for each call: all rules of the target are asked, all answers are kept, and the objective decides
between the kernels that apply, the plain loops among them, by what they cost.

A specialised kernel is a kernel like any other, in a file of its own (`conv_dsp.py`): other loops, constants packed for
them, perhaps scratch, and the same results bit for bit. What a call of it spends is estimated
(`bevel.backends.program.rates`), and the bytes of its code; those of its constants are known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from bevel.backends.backend import backend_of
from bevel.backends.program.bounds import with_bounds
from bevel.backends.program.kernel import Special
from bevel.backends.program.op import Bounds, Op, Role
from bevel.backends.program.program import TAKEN, Asked, Call, Program
from bevel.backends.program.resources import Resource, Resources, told
from bevel.backends.program.switching import exceptions
from bevel.backends.select.objective import BALANCED, Objective
from bevel.backends.select.rules import Rule
from bevel.backends.target import Target

PLAIN = "plain"  # what the plain loops are called among the rules
MORE_EXCEPTIONS = 4  # times those of the plain kernel: multipliers and shifts may stand among packed weights


class Offer(NamedTuple):
    """A kernel for a call: the rule that has it, the call with it, what that is estimated to spend and its code to take
    of flash, and the bytes of its constants."""

    rule: str
    call: Call
    estimate: Resources
    constants: int

    @property
    def cost(self) -> Resources:
        return self.estimate + Resources({Resource.FLASH: self.constants})

    @property
    def work(self) -> float:
        """Instructions, or seconds."""
        return next(amount for name, amount in self.estimate.items() if name != Resource.FLASH)

    def share(self, users: int, callers: int) -> Flash:
        """Of a product where so many calls have these constants, and so many may have this kernel."""
        return Flash(self.constants / users, self.estimate.get(Resource.FLASH, 0) / callers)


class Flash(NamedTuple):
    """A call's share of the bytes of constants and of code."""

    constants: float
    code: float

    @property
    def flash(self) -> float:
        return self.constants + self.code

    def saved(self, plain: Flash) -> float:
        """What weights of fewer bits save, beside `plain` loops, whose weights are bytes; code that decodes takes some
        of it back. Nothing where weights take as much."""
        less, more = plain.constants - self.constants, max(0.0, self.code - plain.code)
        return max(0.0, less - more)


@dataclass(frozen=True)
class Offers:
    """All that the rules answered for a call: kernels, the plain loops first, and reasons why there are none."""

    kernels: tuple[Offer, ...]
    refused: tuple[Asked, ...]


Key = tuple[Op, tuple[int, ...], tuple[Bounds | None, ...]]


@dataclass(frozen=True)
class Specializer:
    """Specialises calls for one target; each kernel with the same arrays once, as bands of an image share weights.

    `preferred`: a rule whose kernel is taken wherever there is one, for measuring it.
    """

    target: Target
    objective: Objective = BALANCED
    preferred: str = ""
    # By kernel, identity of the constants, which the calls kept here hold alive, and what the inputs may be.
    known: dict[Key, tuple[Call, Offers]] = field(default_factory=dict, compare=False)

    def program(self, program: Program) -> Program:
        calls = with_bounds(program).calls
        offers = [self.offers(call) for call in calls]
        chosen = choose(offers, [identity(call) for call in calls], self.objective, self.preferred)
        return replace(program, calls=tuple(map(self.taken, calls, offers, chosen)))

    def offers(self, call: Call) -> Offers:
        key = (call.kernel, identity(call), call.input_bounds)
        if key not in self.known:
            self.known[key] = (call, offers(call, self.target))
        return self.known[key][1]

    def taken(self, call: Call, offers: Offers, best: Offer) -> Call:
        """`call` with the kernel of `best`, and every answer."""
        special = best.call
        beaten = [Asked(one.rule, self.beaten(one, best), one.cost) for one in offers.kernels if one is not best]
        return replace(
            call,
            kernel=special.kernel,
            constants=special.constants,
            narrower=special.narrower,
            asked=(Asked(best.rule, TAKEN, best.cost), *beaten, *offers.refused),
        )

    def beaten(self, one: Offer, best: Offer) -> str:
        """Why another kernel was taken."""
        dearer = [name.label for name, amount in one.cost.items() if amount > best.cost[name]]
        more = f"more {' and more '.join(dearer)}" if dearer else "as much"
        return f"applies, with about {told(one.cost)}: {more} than {best.rule}, the choice for {self.objective.name}"


def specialize(program: Program, target: Target, objective: Objective = BALANCED) -> Program:
    """`program` with the kernels that serve `objective` best on `target`."""
    return Specializer(target, objective).program(program)


def specialized(call: Call, target: Target, objective: Objective = BALANCED) -> Call:
    """`call` alone with the kernel that serves `objective` best, and what every rule answered."""
    one = Specializer(target, objective)
    found = one.offers(call)
    return one.taken(call, found, *choose([found], [identity(call)], objective))


def choose(
    offers: Sequence[Offers], weights: Sequence[tuple[int, ...]], objective: Objective, preferred: str = ""
) -> list[Offer]:
    """The best kernel for each call. weights: whose constants a call has; flash that calls share is charged in parts.

    Costs count as shares of what the model takes and spends at least. Of kernels that score alike, the first.
    """
    users, callers = Counter(weights), Counter(one.call.kernel for each in offers for one in each.kernels)
    shares = [
        [one.share(users[whose], callers[one.call.kernel]) for one in each.kernels]
        for each, whose in zip(offers, weights, strict=True)
    ]
    work = sum(min(one.work for one in each.kernels) for each in offers) or 1.0
    flash = sum(min(one.flash for one in each) for each in shares) or 1.0

    def best(each: Offers, taken: Sequence[Flash]) -> Offer:
        scored = [
            (objective.score(one.work / work, own.flash / flash, own.saved(taken[0]) / flash), place)
            for place, (one, own) in enumerate(zip(each.kernels, taken, strict=True))
        ]
        wanted = [one for one in scored if each.kernels[one[1]].rule == preferred]
        return each.kernels[min(wanted or scored)[1]]

    return [best(*pair) for pair in zip(offers, shares, strict=True)]


def identity(call: Call) -> tuple[int, ...]:
    return tuple(id(array) for array in call.constants)


def offers(call: Call, target: Target) -> Offers:
    """What each rule of the target answers."""
    alone = replace(call, narrower={})
    kernels = [offer(PLAIN, call, target)]
    refused = []
    for name, rule in rules_for(target).items():
        found = rule(alone, target)
        special = special_call(call, alone, found, rule, target) if isinstance(found, Special) else found
        if isinstance(special, Call):
            kernels.append(offer(name, special, target))
        else:
            refused.append(Asked(name, special))
    return Offers(tuple(kernels), tuple(refused))


def offer(rule: str, call: Call, target: Target) -> Offer:
    return Offer(
        rule, call, backend_of(target).estimate(call.kernel, target), sum(array.nbytes for array in call.constants)
    )


def rules_for(target: Target) -> Mapping[str, Rule]:
    return backend_of(target).rules()


def special_call(call: Call, alone: Call, found: Special, rule: Rule, target: Target) -> Call | str:
    """Raises ValueError for a kernel that stores its results as another type: a bug of its rule."""
    wanted, stored = ([one.dtype for one in kernel.roles(Role.OUTPUT)] for kernel in (call.kernel, found.kernel))
    if wanted != stored:
        raise ValueError(f"{found.kernel} stores {stored} for {call.node}, whose results are {wanted}")
    special = replace(alone, kernel=found.kernel, constants=found.constants)
    if not call.narrower:
        return special
    return at_every_width(call, special, rule, target) or "it is another kernel, or stores weights twice, at fewer bits"


def at_every_width(call: Call, special: Call, rule: Rule, target: Target) -> Call | None:
    """`special` with its constants at the other widths; None where it is another kernel there, or would have to store
    weights again: a few elements a channel may be exceptions, as the bias is."""
    narrower = {}
    for bits, constants in call.narrower.items():
        found = rule(replace(call, constants=constants, narrower={}), target)
        if not isinstance(found, Special) or found.kernel != special.kernel:
            return None
        narrower[bits] = found.constants
    switching = replace(special, narrower=narrower)
    return switching if exceptions(switching) <= MORE_EXCEPTIONS * exceptions(call) else None
