"""Names, widths and numbers of Verilog."""

import pytest

from bevel.backends.fpga.verilog.text import image, signed_bits, signed_number, unique


@pytest.mark.parametrize(
    ("low", "high", "bits"), [(0, 0, 1), (-1, 0, 1), (0, 1, 2), (-128, 127, 8), (-129, 0, 9), (0, 128, 9), (5, 6, 4)]
)
def test_a_signed_width_holds_all_between_two_numbers_and_no_bit_more(low: int, high: int, bits: int) -> None:
    assert signed_bits(low, high) == bits


def test_names_of_nodes_become_identifiers_that_differ() -> None:
    assert unique(["a/b", "a.b", "module", "1st", ""]) == ["a_b", "a_b_2", "n_module", "n_1st", "node"]


def test_signed_constants_have_their_sign_before_the_width() -> None:
    assert [signed_number(value, 4) for value in (-8, -3, 0, 7)] == ["4'sh8", "-4'sd3", "4'sd0", "4'sd7"]


def test_a_memory_image_has_the_first_element_lowest() -> None:
    assert image([[1, -1], [2, 3]], 4) == "f1\n32\n"
