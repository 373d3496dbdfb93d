"""An Einsum of two factors that is a product of matrices becomes MatMul; others stay, with the reason."""

import pytest

from bevel.passes.canonicalize.unify_einsum import UnifyEinsum


@pytest.mark.parametrize(
    ("equation", "a", "b"),
    [
        ("ij,jk->ik", "3,5", "5,4"),
        ("ij,jk", "3,5", "5,4"),
        ("ij,kj->ki", "3,5", "4,5"),
        ("bhqd,bhkd->bhqk", "2,3,5,4", "2,3,6,4"),
        ("bqhd,bkhd->bhqk", "2,5,3,4", "2,6,3,4"),
        ("bhqk,bkhd->bqhd", "2,3,5,6", "2,6,3,4"),
        ("ij,ij->i", "3,5", "3,5"),
        ("ij,j->i", "3,5", "5"),
        ("abcd,cde->abe", "2,3,4,5", "4,5,6"),
        ("i,i->", "5", "5"),
        ("ab,bac->ca", "2,3", "3,2,4"),
    ],
)
def test_a_product_of_matrices_is_a_matmul(model, apply, equation: str, a: str, b: str) -> None:
    subject = model(f'y = Einsum <equation = "{equation}"> (x, z)', f"float[{a}] x, float[{b}] z")
    result = apply(subject, UnifyEinsum())
    ops = [node.op for node in result.graph.nodes]
    assert "Einsum" not in ops and ops.count("MatMul") == 1
    assert not UnifyEinsum()(result.work).modified


@pytest.mark.parametrize(
    ("equation", "inputs", "reason"),
    [
        ("ii,ij->j", "float[3,3] x, float[3,4] z", "repeated within a factor"),
        ("ij,jk->k", "float[3,5] x, float[5,4] z", "axis of one factor alone"),
        ("ij,ij->ij", "float[3,5] x, float[3,5] z", "sums over nothing"),
        ("ij,jk->ik", "float[3,1] x, float[5,4] z", "two sizes"),
        ("bij,bjk->bik", "float[2,3,5] x, float[1,5,4] z", "two sizes"),
        ("...j,jk->...k", "float[3,5] x, float[5,4] z", "ellipsis"),
        ("ij->ji", "float[3,5] x", "1 factors"),
    ],
)
def test_others_stay_and_say_why(model, apply, equation: str, inputs: str, reason: str) -> None:
    names = "x, z" if " z" in inputs else "x"
    result = apply(model(f'y = Einsum <equation = "{equation}"> ({names})', inputs), UnifyEinsum())
    assert not result.modified
    assert reason in result.notes[0].text
