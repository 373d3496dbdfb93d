"""Whatever bytes a file has for names, what is shown of them is text."""

import onnx
import pytest

from bevel.calib.errors import UserError
from bevel.passes.exchange.legible_text import make_legible

HEADER = '<ir_version: 8, opset_import: ["" : 17]> '
TEXT = HEADER + "g (float[1,4] x) => (float[1,4] y) { [named] mid = Relu (x) y = Neg (mid) }"


def damaged(old: bytes, new: bytes) -> onnx.ModelProto:
    """The model with bytes replaced by as many others."""
    model = onnx.parser.parse_model(TEXT)
    model.doc_string, model.producer_name = "docs", "prod"
    model.metadata_props.add(key="keyed", value="valued")
    data = model.SerializeToString()
    assert old in data and len(old) == len(new)
    return onnx.load_model_from_string(data.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"named", b"na\xbded"), (b"docs", b"\xff\xfe\xfd\xfc"), (b"keyed", b"\xc3eyed"), (b"valued", b"val\x80ed")],
)
def test_bytes_that_are_no_text_become_escapes(old, new) -> None:
    model = damaged(old, new)
    assert len(make_legible(model, "m.onnx")) == 1
    onnx.load_model_from_string(model.SerializeToString())
    assert str(model).isascii()


def test_a_tensor_s_name_changes_wherever_it_stands() -> None:
    model = damaged(b"mid", b"m\xbdd")
    assert make_legible(model, "m.onnx") == ["m\\xbdd"]
    assert model.graph.node[0].output == model.graph.node[1].input == ["m\\xbdd"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a\u202eb", "a\\u202eb"), ("a\nb", "a\\nb"), ("a\x1b[31m", "a\\x1b[31m"), ("a\u200bb", "a\\u200bb")],
)
def test_characters_that_move_others_become_escapes(text, shown) -> None:
    model = onnx.parser.parse_model(TEXT)
    model.graph.node[0].name = text
    make_legible(model, "m.onnx")
    assert model.graph.node[0].name == shown


def test_names_in_any_script_stay() -> None:
    model = onnx.parser.parse_model(TEXT)
    model.graph.node[0].name = "слой/畳み込み:0;é"
    before = model.SerializeToString()
    assert make_legible(model, "m.onnx") == []
    assert model.SerializeToString() == before


def test_an_operator_that_is_no_text_is_refused() -> None:
    with pytest.raises(UserError, match=r"m\.onnx: op_type.*is not UTF-8"):
        make_legible(damaged(b"Relu", b"Re\xbdu"), "m.onnx")


def test_a_text_attribute_that_is_no_text_is_refused() -> None:
    model = onnx.parser.parse_model(TEXT)
    model.graph.node[0].attribute.append(onnx.helper.make_attribute("mode", b"\xff\xfe"))
    with pytest.raises(UserError, match=r"m\.onnx: attribute mode"):
        make_legible(model, "m.onnx")
