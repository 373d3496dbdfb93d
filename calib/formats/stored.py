"""Arrays in .npy and .npz files, read row by row, and arrays that a program holds.

Files are read as streams and not mapped: the pages of a memory map count as the process's memory once they were
touched, and the members of a compressed archive cannot be mapped at all. Only an array in Fortran order is loaded
whole, because its rows are not contiguous.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from bevel.calib.errors import UserError

Array = NDArray[Any]

BROKEN = (TokenError, ValueError, EOFError, OSError, RuntimeError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class StoredArray:
    """An array in a file: a .npy file itself, or the member `name` of an .npz archive."""

    path: Path
    name: str | None  # the array's name in the archive; None for a .npy file
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran_order: bool

    @staticmethod
    def at(path: Path, name: str | None = None) -> StoredArray:
        """Reads the header only. Raises UserError for what is not a readable array of numbers."""
        try:
            with InputStream(path, name) as stream:
                shape, fortran_order, dtype = read_header(stream)
        except BROKEN as error:
            raise UserError(f"{place(path, name)} cannot be read as a numpy array: {error}") from error
        if dtype.kind not in "biuf":
            raise UserError(f"{place(path, name)} holds {dtype}; calibration data is arrays of numbers")
        return StoredArray(path, name, shape, dtype, fortran_order and len(shape) > 1)

    @property
    def place(self) -> str:
        return place(self.path, self.name)

    def rows(self) -> Iterator[Array]:
        """The array's rows along axis 0, each its own memory. Raises UserError where the file ends early."""
        try:
            with InputStream(self.path, self.name) as stream:
                if self.fortran_order:
                    yield from npy.read_array(stream, allow_pickle=False)
                    return
                shape, _, dtype = read_header(stream)
                size = prod(shape[1:]) * dtype.itemsize
                for row in range(shape[0]):
                    content = stream.read(size)
                    if len(content) != size:
                        raise UserError(f"{self.place} ends inside row {row} of {shape[0]}; write the file again")
                    yield np.frombuffer(content, dtype).reshape(shape[1:])
        except BROKEN as error:
            raise UserError(f"{self.place} cannot be read: {error}; write the file again") from error

    def load(self) -> Array:
        """The whole array."""
        rows = list(self.rows())
        return np.stack(rows) if rows else np.zeros(self.shape, self.dtype)


@dataclass(frozen=True, eq=False)
class HeldArray:
    """An array in memory, with what a dataset asks of a `StoredArray`."""

    name: str
    array: Array

    @staticmethod
    def at(name: str, array: Array) -> HeldArray:
        """Raises UserError for what is not numbers."""
        if array.dtype.kind not in "biuf":
            raise UserError(f"array {name!r} holds {array.dtype}; calibration data is arrays of numbers")
        return HeldArray(name, array)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.array.dtype

    @property
    def place(self) -> str:
        return f"array {self.name!r}"

    def rows(self) -> Iterator[Array]:
        yield from self.array

    def load(self) -> Array:
        return self.array


def array_names(path: Path) -> list[str]:
    """The names of the arrays in an .npz archive, in the archive's order. Raises UserError for other files."""
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
    except BROKEN as error:
        raise UserError(f"{path} cannot be read as an .npz archive: {error}; write it with numpy.savez") from error


class InputStream:
    """A file, or a member of an archive that is closed with it."""

    def __init__(self, path: Path, name: str | None) -> None:
        self._archive = None if name is None else zipfile.ZipFile(path)
        try:
            self._file: IO[bytes] = path.open("rb") if self._archive is None else self._archive.open(f"{name}.npy")
        except BaseException:
            self._close_archive()
            raise

    def __enter__(self) -> IO[bytes]:
        return self._file

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._close_archive()

    def _close_archive(self) -> None:
        if self._archive is not None:
            self._archive.close()


def read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """(shape, fortran order, dtype); leaves the stream at the first byte of the data."""
    version = npy.read_magic(stream)
    return npy.read_array_header_1_0(stream) if version == (1, 0) else npy.read_array_header_2_0(stream)


def place(path: Path, name: str | None) -> str:
    return str(path) if name is None else f"array {name!r} of {path}"
