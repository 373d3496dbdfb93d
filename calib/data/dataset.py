"""Samples for a model's inputs, from files, arrays or a random generator, one model run at a time."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bevel.calib.data.files import check_plain
from bevel.calib.errors import UserError
from bevel.calib.formats.stored import HeldArray, StoredArray, array_names

Array = NDArray[Any]
Samples = Path | Mapping[str, Array]  # where samples are: in files, or in memory under the names of the inputs
Readable = StoredArray | HeldArray
LABELS = "y"


@dataclass(frozen=True)
class InputType:
    """What one model input takes: its exact shape, batch included, and its numpy element type."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


Inputs = Mapping[str, InputType]


class Runs(Protocol):
    """Model runs that can be walked more than once."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[dict[str, Array]]: ...


@dataclass(frozen=True)
class Subset:
    """The runs at `places`, ascending; the others are read and left out."""

    runs: Runs
    places: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[dict[str, Array]]:
        wanted = set(self.places)
        until = max(wanted, default=-1) + 1
        yield from (run for place, run in enumerate(islice(iter(self.runs), until)) if place in wanted)


def places_of(runs: Runs) -> Sequence[int]:
    """The number of each run among those that subsets were taken of."""
    if not isinstance(runs, Subset):
        return range(len(runs))
    outer = places_of(runs.runs)
    return [outer[place] for place in runs.places]


def spread_samples(runs: Runs, count: int) -> Subset:
    """`count` of the runs, evenly spread over all of them, or all."""
    total = len(runs)
    count = min(count, total)
    return Subset(runs, tuple(place * total // count for place in range(count)))


class Dataset(ABC):
    """A sequence of model runs that can be walked more than once. Iteration holds one run in memory."""

    inputs: Inputs
    labels: Array | None  # one row for each sample of the runs, or None
    notes: tuple[str, ...]  # what the reader of the report must know about this data
    together: int = 1  # samples of a run
    group: int = 1  # consecutive samples that a row of `labels` is for

    def begins(self, run: int) -> bool:
        """Whether a sequence begins with a run: each is one, for a model that keeps nothing between runs."""
        return True

    @abstractmethod
    def __len__(self) -> int:
        """The number of model runs."""

    @abstractmethod
    def __iter__(self) -> Iterator[dict[str, Array]]:
        """One {input name: array of exactly the input's shape and type} for each run."""


@dataclass(frozen=True)
class RandomDataset(Dataset):
    """Floats from the standard normal distribution, uint8 of all values, other integers and booleans 0 or 1; the same
    for the same seed."""

    inputs: Inputs
    count: int
    seed: int
    labels: None = None
    notes: tuple[str, ...] = ("the data is random: every range found with it is a guess",)

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[dict[str, Array]]:
        rng = np.random.default_rng(self.seed)
        for _ in range(self.count):
            yield {name: random_array(rng, one) for name, one in self.inputs.items()}


def random_array(rng: np.random.Generator, one: InputType) -> Array:
    if one.dtype.kind == "f":
        return rng.standard_normal(one.shape).astype(one.dtype)
    return rng.integers(0, 256 if one.dtype == np.uint8 else 2, one.shape).astype(one.dtype)


def random_dataset(inputs: Inputs, count: int, seed: int) -> RandomDataset:
    """`count` random runs. Raises UserError where that is none."""
    if count < 1:
        raise UserError(f"random data of {count} samples is empty; ask for 1 or more")
    return RandomDataset(inputs, count, seed)


@dataclass(frozen=True)
class Column:
    """The rows of one input over all files. A run takes `together` rows and reshapes them to the input's shape; a row
    of a file may be a sequence of `steps` rows."""

    name: str
    input: InputType
    parts: tuple[Readable, ...]
    together: int
    steps: int | None = None

    @property
    def length(self) -> int:
        return sum(part.shape[0] for part in self.parts) * (self.steps or 1)

    def runs(self) -> Generator[Array, None, None]:
        rows = self._rows()
        while taken := list(islice(rows, self.together)):
            yield np.stack(taken).reshape(self.input.shape)

    def _rows(self) -> Iterator[Array]:
        sample = 0
        for part in self.parts:
            for row in part.rows():
                for step in (row,) if self.steps is None else row:
                    yield converted(step, self.input.dtype, f"{part.place}: sample {sample}")
                    sample += 1


@dataclass(frozen=True, eq=False)
class FileDataset(Dataset):
    """Runs from files, read while they are walked, or from arrays."""

    inputs: Inputs
    columns: tuple[Column, ...]
    runs: int
    labels: Array | None
    notes: tuple[str, ...]
    together: int = 1
    group: int = 1

    def __len__(self) -> int:
        return self.runs

    def __iter__(self) -> Iterator[dict[str, Array]]:
        walks = [column.runs() for column in self.columns]
        try:
            for arrays in islice(zip(*walks, strict=False), self.runs):
                yield {column.name: array for column, array in zip(self.columns, arrays, strict=True)}
        finally:
            for walk in walks:
                walk.close()


def open_dataset(given: Samples, inputs: Inputs, limit: int | None = None, grouped: bool = False) -> FileDataset:
    """The samples of a model with `inputs`: an .npz, a .npy (models of one input), a folder of either, or arrays.

    Arrays are named like the inputs and count samples along axis 0: either in the input's own rank, its first dimension
    B being the batch (B consecutive samples form a run, a ragged tail is dropped with a note), or with one rank more
    (each sample is a run). `y`, where the model has no such input, holds labels. A folder's files are taken in the
    order of their names. At most `limit` samples are used. grouped: `y` may have a row for several consecutive samples,
    which are then used together or not at all. Floats are converted to the input's precision, from and to
    integers where every value survives, which is checked on iteration.

    Raises UserError for missing or unreadable files, wrong names, ranks, shapes or types and for empty data at once,
    and for NaN, infinity or values that do not convert on iteration, naming array and sample.
    """
    check_limit(limit)
    files = [arrays_in(file, inputs) for file in data_files(given)]
    place = place_of(given)
    columns = tuple(column(name, one, [file[name] for file in files]) for name, one in inputs.items())
    together = max(one.together for one in columns)
    runs, notes = count_runs(place, columns, together, limit)
    given_labels: list[Readable | None] = [file.get(LABELS) for file in files] if LABELS not in inputs else [None]
    labels, group = read_labels(place, given_labels, columns, grouped)
    if labels is None or group == 1:
        used = None if labels is None else labels[: runs * together]
        return FileDataset(inputs, columns, runs, used, notes, together)
    runs = whole_groups(place, runs, together, group)
    return FileDataset(inputs, columns, runs, labels[: runs * together // group], notes, together, group)


def whole_groups(place: str, runs: int, together: int, group: int) -> int:
    """The most of `runs` whose samples are whole groups. Raises UserError where that is none."""
    step = math.lcm(together, group)
    found = runs * together // step * step // together
    if not found:
        raise UserError(f"{place}: a row of {LABELS!r} is for {group} samples, and {runs * together} are read")
    return found


def check_limit(limit: int | None) -> None:
    if limit is not None and limit < 1:
        raise UserError(f"a limit of {limit} samples leaves none; use 1 or more")


def place_of(given: Samples) -> str:
    """How a message calls the samples."""
    return str(given) if isinstance(given, Path) else "the arrays given"


def data_files(given: Samples) -> list[Path] | list[Mapping[str, Array]]:
    """The files at a path; arrays in memory are like one."""
    return files_at(given) if isinstance(given, Path) else [given]


def files_at(path: Path) -> list[Path]:
    try:
        if path.is_dir():
            files = sorted(file for file in path.iterdir() if file.suffix in (".npz", ".npy"))
            if not files:
                raise UserError(f"{path} holds no .npz or .npy file")
            for file in files:
                check_plain(file)
            return files
        check_plain(path)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; give an .npz, a .npy or a folder of either") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    if path.suffix not in (".npz", ".npy"):
        raise UserError(f"{path} is neither .npz nor .npy; write it with numpy.savez(path, <input name>=array)")
    return [path]


def arrays_in(given: Samples, inputs: Inputs) -> Mapping[str, Readable]:
    """{array name: array}, exactly the model's inputs and perhaps labels."""
    if isinstance(given, Path) and given.suffix == ".npy":
        if len(inputs) != 1:
            raise UserError(f"{given} holds one array, the model has inputs {quoted(inputs)}; name them in an .npz")
        return dict.fromkeys(inputs, StoredArray.at(given))
    found = array_names(given) if isinstance(given, Path) else list(given)
    missing = [name for name in inputs if name not in found]
    extra = [name for name in found if name not in inputs and name != LABELS]
    if missing or extra:
        place = f"{given} has" if isinstance(given, Path) else "the samples given have"
        raise UserError(f"{place} arrays {quoted(found) or 'none'}; the model's inputs are {quoted(inputs)}")
    return arrays_at(given)


def arrays_at(given: Samples) -> Mapping[str, Readable]:
    """{array name: array} of all in an .npz or in memory."""
    if isinstance(given, Path):
        return {name: StoredArray.at(given, name) for name in array_names(given)}
    return {name: HeldArray.at(name, given[name]) for name in given}


def column(name: str, one: InputType, parts: list[Readable]) -> Column:
    """The column of an input. Raises UserError unless every part has its shape, in one layout, and a fitting type."""
    layouts = {rows_together(part, one) for part in parts}
    if len(layouts) > 1:
        raise UserError(f"files disagree on the rank of input {name!r}: {parts[0].place} has {list(parts[0].shape)}")
    for part in parts:
        check_type(part, one)
    return Column(name, one, tuple(parts), layouts.pop())


def rows_together(part: Readable, one: InputType) -> int:
    """How many rows of `part` form a run: the input's batch where the ranks agree, 1 where `part` has one rank more."""
    if len(part.shape) == len(one.shape) + 1 and part.shape[1:] == one.shape:
        return 1
    if one.shape and len(part.shape) == len(one.shape) and part.shape[1:] == one.shape[1:]:
        return one.shape[0]
    fitting = f"[samples, {', '.join(map(str, one.shape[1:]))}]" if one.shape[1:] else "[samples]"
    raise UserError(
        f"{part.place} has shape {list(part.shape)}; the model's input takes {list(one.shape)}, "
        f"so {fitting} or {['samples', *one.shape]} would fit".replace("'samples'", "samples")
    )


def check_type(part: Readable, one: InputType) -> None:
    """Pixels may come as floats, too, as images are often kept."""
    kinds = {"f": "fiub", "i": "iub", "u": "iub", "b": "b"}
    pixels = part.dtype.kind == "f" and one.dtype.kind in "iu" and one.dtype.itemsize == 1
    if part.dtype.kind not in kinds.get(one.dtype.kind, "") and not pixels:
        raise UserError(f"{part.place} is {part.dtype}; the model's input takes {one.dtype}: convert it first")


def count_runs(
    place: str, columns: tuple[Column, ...], together: int, limit: int | None
) -> tuple[int, tuple[str, ...]]:
    """(runs, notes). Raises UserError where there is not one run or the inputs do not have equally many."""
    counts = {one.name: one.length // one.together for one in columns}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{one.name!r} {one.length}" for one in columns)
        raise UserError(f"{place}: the inputs have different numbers of samples: {listed}")
    samples = min(one.length for one in columns if one.together == together)
    if limit is not None:
        samples = min(samples, limit)
    if samples < together:
        raise UserError(f"{place} gives {samples} samples; the model needs {together} for one run")
    dropped = samples % together
    notes = (f"{dropped} of {samples} samples dropped: the model runs {together} at a time",) if dropped else ()
    return samples // together, notes


def read_labels(
    place: str, parts: list[Readable | None], columns: tuple[Column, ...], grouped: bool
) -> tuple[Array | None, int]:
    """(labels of all files joined, or None where no file has any; how many samples a row is for)."""
    present = [part for part in parts if part is not None]
    if not present:
        return None, 1
    if len(present) != len(parts):
        raise UserError(f"{place}: {len(present)} of {len(parts)} files have {LABELS!r}; give it in all or none")
    if any(not part.shape or part.shape[1:] != present[0].shape[1:] for part in present):
        raise UserError(f"{present[0].place} has shape {list(present[0].shape)}; labels have one row for each sample")
    labels = np.concatenate([part.load() for part in present])
    samples = max(one.length for one in columns)
    if len(labels) != samples and not (grouped and len(labels) and samples % len(labels) == 0):
        raise UserError(f"{place}: {LABELS!r} has {len(labels)} rows for {samples} samples")
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        row = int(np.argwhere(~np.isfinite(labels))[0][0])
        raise UserError(f"{place}: {LABELS!r} holds {labels[~np.isfinite(labels)].flat[0]} for sample {row}")
    return labels, max(samples // max(len(labels), 1), 1)


def converted(row: Array, dtype: np.dtype[Any], where: str) -> Array:
    """`row` as `dtype`, all finite and, from or to integers, unchanged. Raises UserError that begins with `where`."""
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows to infinity is reported below
        result = row.astype(dtype)
        restored = result.astype(row.dtype)
    if dtype.kind == "f" and not np.isfinite(result).all():
        first = row[~np.isfinite(result)].flat[0]
        raise UserError(f"{where} holds {first}; the data must be finite {dtype}")
    if {row.dtype.kind, dtype.kind} & {"i", "u"} and (changed := restored != row).any():
        raise UserError(f"{where} holds {row[changed].flat[0]}, which {dtype} cannot represent")
    return result


def quoted(names: Inputs | list[str]) -> str:
    return ", ".join(map(repr, names))
