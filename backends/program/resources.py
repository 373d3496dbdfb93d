"""What a product takes of a machine, and spends in one inference: one dictionary for sizes, limits, budgets, costs and
measurements. A resource that a new machine counts is one entry of `Resource`; whatever sums, compares, stores or prints
resources then does so with it too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any

BYTES, SECONDS, COUNT = "bytes", "s", ""  # units, as keys of files end in them


class Resource(StrEnum):
    """A resource's name, the unit of its amounts, what people call it, and what is counted."""

    unit: str
    label: str
    about: str

    def __new__(cls, name: str, unit: str, label: str, about: str) -> Resource:
        member = str.__new__(cls, name)
        member._value_ = name
        member.unit, member.label, member.about = unit, label, about
        return member

    FLASH = "flash", BYTES, "flash", "code, constants and initialised data of the product, without test vectors"
    WEIGHTS = "weights", BYTES, "weights", "of flash: the constant arrays"
    RAM = "ram", BYTES, "RAM", "arena, static data and stack"
    ARENA = "arena", BYTES, "arena", "of RAM: activations and scratch"
    STATE = "state", BYTES, "state", "of the arena: what stays from one run to the next"
    STATIC = "static", BYTES, "static data", "of RAM: data that is neither arena nor stack"
    STACK = "stack", BYTES, "stack", "of RAM: the deepest path of one inference, by the compiler's report, and a margin"
    DEVICE = "device_memory", BYTES, "device memory", "of a GPU: arena and weights"
    MACS = "macs", COUNT, "MACs", "multiplications with an addition"
    INSTRUCTIONS = "instructions", COUNT, "instructions", "executed in one inference; they are not cycles"
    CYCLES = "cycles", COUNT, "cycles", "of the processor's clock in one inference"
    LATENCY = "latency", SECONDS, "latency", "time of one inference"
    LUT = "lut", COUNT, "lookup tables", "of programmable logic"
    FF = "ff", COUNT, "flip-flops", "of programmable logic"
    DSP = "dsp", COUNT, "multiplier blocks", "of programmable logic"
    BRAM = "bram", COUNT, "memory blocks", "of programmable logic"

    @property
    def key(self) -> str:
        """What its amounts are called in files, where nothing else says the unit: flash_bytes, latency_s, macs."""
        return f"{self}_{self.unit}" if self.unit else str(self)

    def told(self, amount: float) -> str:
        """An amount for people: '1,024 bytes of flash', '2.000 ms', '12.34 us', '3,000 instructions'."""
        if self.unit == SECONDS:
            return f"{amount * 1e3:.3f} ms" if amount >= 1e-3 else f"{amount * 1e6:.2f} us"
        return f"{amount:,.0f} bytes of {self.label}" if self.unit == BYTES else f"{amount:,.0f} {self.label}"


BY_NAME = {str(one): one for one in Resource}


def named(name: str) -> Resource:
    """Raises ValueError that lists what exists."""
    found = BY_NAME.get(name)
    if found is None:
        raise ValueError(f"{name!r} is no resource; known are {', '.join(Resource)}")
    return found


class Resources(Mapping[Resource, float]):
    """Amounts by resource, in its unit; what is not in it is not known, which is not none of it. Immutable."""

    __slots__ = ("_amounts",)

    def __init__(self, amounts: Mapping[Resource, float] | Mapping[str, float] = MappingProxyType({})) -> None:
        """Raises ValueError for what is no resource."""
        self._amounts = {named(name): amount for name, amount in amounts.items()}

    def __getitem__(self, name: str) -> float:
        return self._amounts[named(name)]

    def __iter__(self) -> Iterator[Resource]:
        return iter(self._amounts)

    def __len__(self) -> int:
        return len(self._amounts)

    def __hash__(self) -> int:
        return hash(frozenset(self._amounts.items()))

    def __repr__(self) -> str:
        return f"Resources({{{', '.join(f'{str(name)!r}: {amount!r}' for name, amount in self._amounts.items())}}})"

    def __deepcopy__(self, memo: Any) -> Resources:
        return self

    def __or__(self, other: Mapping[Resource, float]) -> Resources:
        """These, and in their place `other`'s where it knows them."""
        return Resources({**self._amounts, **other})

    def __add__(self, other: Resources) -> Resources:
        """Of both together; what only one of them knows counts as that one's alone."""
        return self | {name: self.get(name, 0) + amount for name, amount in other.items()}

    def times(self, count: float) -> Resources:
        """Of so many."""
        return Resources({name: amount * count for name, amount in self._amounts.items()})

    def __sub__(self, other: Resources) -> Resources:
        """Of the resources that both know, what these are more than `other`."""
        return Resources({name: amount - other[name] for name, amount in self._amounts.items() if name in other})

    def whole(self, name: Resource) -> int:
        """An amount that is counted: bytes, instructions, blocks. Raises KeyError where it is not known."""
        return int(self[name])

    def only(self, *names: Resource) -> Resources:
        """Those of `names` that are known, in their order."""
        return Resources({name: self[name] for name in names if name in self})

    def beyond(self, limits: Resources) -> Resources:
        """Of the resources that there are more of than `limits` allow, by how much; what is not known breaks none."""
        return Resources({name: over for name, over in (self - limits).items() if over > 0})

    def within(self, limits: Resources) -> bool:
        return not self.beyond(limits)

    def keyed(self, *always: Resource) -> dict[str, float | None]:
        """For JSON, by `Resource.key`, in the order of `Resource`; None for those of `always` that are not known."""
        return {name.key: self.get(name) for name in Resource if name in self._amounts or name in always}


NOTHING = Resources()  # is known


def from_keyed(fields: Mapping[str, Any]) -> Resources:
    """The inverse of `Resources.keyed`; other fields, and what is None, are left out."""
    return Resources({one: fields[one.key] for one in Resource if fields.get(one.key) is not None})


def told(amounts: Resources) -> str:
    """'1,024 bytes of flash and 2.000 ms'"""
    return " and ".join(name.told(amount) for name, amount in amounts.items())
