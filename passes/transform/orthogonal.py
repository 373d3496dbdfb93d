"""Orthogonal matrices that spread every coordinate over all: Hadamard's, and what comes near where there is none.

A Hadamard matrix of size n has entries +-1 and H H^T = n I. Sylvester's have n = 2^k. Paley 1933, "On Orthogonal
Matrices", gives n = q + 1 for primes q = 3 mod 4 and n = 2 (q + 1) for primes q = 1 mod 4 (prime powers are left out
here); `williamson` has a few sizes more. Kronecker products of two are one. Sizes that are none of these have the
largest Hadamard factor, times a seeded random orthogonal matrix of what remains.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from bevel.passes.transform.williamson import williamson

Matrix = NDArray[np.float64]


def hadamard(n: int) -> Matrix | None:
    """[n, n] of +-1, or None where no construction above gives one."""
    for size in divisors(n):
        base = simple(size)
        rest = n // size
        if base is not None and rest & (rest - 1) == 0:
            return kron(sylvester(rest), base)
    for size in divisors(n):
        if 1 < size < n:
            left, right = simple(size), hadamard(n // size)
            if left is not None and right is not None:
                return kron(left, right)
    return None


def kron(left: Matrix, right: Matrix) -> Matrix:
    return np.asarray(np.kron(left, right), np.float64)


def block_diagonal(*blocks: Matrix) -> Matrix:
    size = sum(map(len, blocks))
    found, place = np.zeros((size, size)), 0
    for one in blocks:
        found[place : place + len(one), place : place + len(one)] = one
        place += len(one)
    return found


def divisors(n: int) -> list[int]:
    """From 1 on."""
    return [one for one in range(1, n + 1) if n % one == 0]


def sylvester(n: int) -> Matrix:
    found = np.ones((1, 1))
    while len(found) < n:
        found = np.block([[found, found], [found, -found]])
    return found


def simple(n: int) -> Matrix | None:
    """One that is no Kronecker product."""
    found = paley(n)
    return williamson(n) if found is None else found


def paley(n: int) -> Matrix | None:
    """Of size 1, q + 1 or 2 (q + 1)."""
    if n == 1:
        return np.ones((1, 1))
    q = n - 1
    if q % 4 == 3 and is_prime(q):
        core = residues(q)
        bordered = np.block([[np.zeros((1, 1)), np.ones((1, q))], [-np.ones((q, 1)), core]])
        return bordered + np.eye(n)
    q = n // 2 - 1
    if n % 2 == 0 and q % 4 == 1 and is_prime(q):
        core = residues(q)
        conference = np.block([[np.zeros((1, 1)), np.ones((1, q))], [np.ones((q, 1)), core]])
        ones, signs = np.array([[1.0, 1.0], [1.0, -1.0]]), np.array([[1.0, -1.0], [-1.0, -1.0]])
        return kron(conference, ones) + kron(np.eye(q + 1), signs)
    return None


def residues(q: int) -> Matrix:
    """chi(j - i) for i, j below the prime q: 0 on the diagonal, 1 for squares modulo q, -1 for others."""
    squares = {i * i % q for i in range(1, q)}
    chi = np.array([0] + [1 if i in squares else -1 for i in range(1, q)], np.float64)
    found: Matrix = chi[(np.arange(q)[None, :] - np.arange(q)[:, None]) % q]
    return found


@cache
def is_prime(n: int) -> bool:
    return n > 1 and all(n % one for one in range(2, int(n**0.5) + 1))


def spreading(n: int, seed: int) -> Matrix:
    """An orthogonal [n, n] with seeded signs: Hadamard's over sqrt(n), as far as there is one."""
    rng = np.random.default_rng(seed)
    for size in divisors(n)[::-1]:
        found = hadamard(size)
        if found is not None:
            whole = np.kron(found / np.sqrt(size), random_orthogonal(n // size, rng))
            return rng.choice([-1.0, 1.0], n)[:, None] * whole
    raise AssertionError("1 is a Hadamard size")


def random_orthogonal(n: int, rng: np.random.Generator) -> Matrix:
    """Uniform, by QR with the signs of R taken out."""
    q, r = np.linalg.qr(rng.standard_normal((n, n)))
    found: Matrix = q * np.sign(np.diag(r))
    return found


def principal(covariance: Matrix) -> Matrix:
    """Eigenvectors as columns, largest eigenvalue first, each with its largest entry positive."""
    values, vectors = np.linalg.eigh(covariance)
    vectors = vectors[:, np.argsort(-values, kind="stable")]
    signs = np.sign(vectors[np.abs(vectors).argmax(0), np.arange(len(vectors))])
    found: Matrix = vectors * np.where(signs == 0, 1.0, signs)
    return found


def keeping_mean(matrix: Matrix) -> Matrix:
    """The orthogonal R = B W with R 1 = 1, W the reflection that takes 1 to B^T 1: x R has the mean of x."""
    ones = np.ones(len(matrix))
    axis = ones - matrix.T @ ones
    length = float(axis @ axis)
    if length < 1e-20:
        return matrix
    found: Matrix = matrix - 2 * np.outer(matrix @ axis, axis) / length
    return found
