"""The reader of .caffemodel files, on files of the tests' own writer and on hostile ones."""

import re
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from context_agg.runs import caffemodel as reader
from context_agg.runs.caffemodel import read_caffemodel
from tests.caffe_file import blob, caffemodel, field, layer, old_layer, varint, whole

GENERATOR = np.random.default_rng(0)
LAYERS = {
    "conv1": [GENERATOR.random((4, 3, 3, 3), np.float32), GENERATOR.random(4, np.float32)],
    "fc-final": [GENERATOR.random((2, 200, 1, 1), np.float32), GENERATOR.random(2, np.float32)],
}


def read(content: bytes, folder: Path) -> dict[str, reader.Blobs]:
    (folder / "net.caffemodel").write_bytes(content)
    return read_caffemodel(folder / "net.caffemodel")


def test_layers_are_read_as_they_were_written(tmp_path: Path) -> None:
    found = read(caffemodel(LAYERS), tmp_path)
    assert list(found) == list(LAYERS)  # those without weights are left out
    for name, blobs in LAYERS.items():
        for ours, theirs in zip(found[name], blobs, strict=True):
            assert ours.dtype == np.float32
            assert ours.shape == theirs.shape
            assert np.array_equal(ours, theirs)


def test_layers_of_before_2014_are_read_too(tmp_path: Path) -> None:
    found = read(caffemodel(LAYERS, old=True), tmp_path)
    assert list(found) == list(LAYERS)
    for name, (weight, bias) in LAYERS.items():
        assert np.array_equal(found[name][0], weight)
        assert found[name][1].shape == (1, 1, 1, len(bias))
        assert np.array_equal(found[name][1].ravel(), bias)


def test_a_shape_may_be_unpacked_and_come_last(tmp_path: Path) -> None:
    """protobuf allows both, and skips what it does not know."""
    array = LAYERS["conv1"][0]
    shape = field(7, b"".join(whole(1, side) for side in array.shape))
    unknown = varint(900 << 3 | 1) + struct.pack("<d", 1.5) + field(901, b"...")
    content = field(5, array.tobytes()) + unknown + shape + field(6, array.tobytes())
    assert np.array_equal(read(layer("a", [content]), tmp_path)["a"][0], array)


SHORT = np.zeros(3, np.float32)
WRONG = {
    "empty": (b"", "it has no layer with weights"),
    "no weights": (layer("a", []), "it has no layer with weights"),
    "text": (b"<html><body>not found</body></html>", "a field of kind 4"),
    "a cut": (caffemodel(LAYERS)[:-200], "cut off"),
    "a length beyond the end": (varint(100 << 3 | 2) + varint(2**40), "cut off, or a length"),
    "an endless number": (b"\xff" * 40, "more than 64 bits"),
    "within a number": (b"\xff\xff", "ends within a number"),
    "a group": (varint(100 << 3 | 3), "a field of kind 3"),
    "a number for a layer": (whole(100, 7), "a number where a message should be"),
    "a message for a size": (layer("a", [field(1, b"x")]), "a message where a number should be"),
    "too few": (
        layer("a", [field(7, field(1, varint(4))) + field(5, SHORT.tobytes())]),
        "layer 'a' has 12 bytes for weights of shape [4]",
    ),
    "no shape": (layer("a", [field(5, SHORT.tobytes())]), "12 bytes for weights of shape [0, 0"),
    "no data": (layer("a", [field(7, field(1, varint(4)))]), "0 bytes for weights of shape [4]"),
    "a huge shape": (
        layer("a", [field(7, field(1, varint(2**62) * 4)) + field(5, SHORT.tobytes())]),
        "12 bytes for weights of shape",
    ),
    "a negative side": (
        layer("a", [field(7, field(1, varint(2**64 - 3))) + field(5, SHORT.tobytes())]),
        "12 bytes for weights of shape",
    ),
    "many axes": (layer("a", [field(7, field(1, varint(1) * 9))]), "a shape has 9 axes"),
    "two pieces": (
        layer("a", [field(7, field(1, varint(3))) + 2 * field(5, SHORT.tobytes())]),
        "in several pieces",
    ),
    "doubles": (layer("a", [field(8, SHORT.tobytes())]), "in double precision"),
    "twice": (2 * layer("a", [blob(SHORT)]), "two layers 'a'"),
    "a long name": (layer("a" * 300, [blob(SHORT)]), "the name of a layer has 300 bytes"),
    "a strange name": (layer("a\x1b[2J", [blob(SHORT)]), r"the name of a layer is 'a\x1b[2J'"),
    "no text": (field(100, field(1, b"\xff\xfe")), "can't decode"),
    "2013": (field(2, field(1, field(1, b"conv1"))), "the form of 2013; let Caffe upgrade it"),
    "many fields": (whole(5, 0) * 10_001, "more than 10,000 fields"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_one_message(case: str, tmp_path: Path) -> None:
    content, says = WRONG[case]
    with pytest.raises(ValueError, match=re.escape(says)) as error:
        read(content, tmp_path)
    start = f"{tmp_path}/net.caffemodel is not a .caffemodel that can be read: "
    assert str(error.value).startswith(start)
    assert str(error.value).isprintable()


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(place=st.integers(0, 10**6), byte=st.integers(0, 255), end=st.integers(0, 10**6))
def test_a_changed_byte_or_a_cut_is_read_or_refused(
    place: int, byte: int, end: int, tmp_path: Path
) -> None:
    """Nothing but a ValueError, and never more numbers than the file has."""
    content = bytearray(caffemodel(LAYERS))
    content[place % len(content)] = byte
    content = content[: end % len(content) + 1]
    try:
        found = read(bytes(content), tmp_path)
    except ValueError:
        return
    assert sum(array.nbytes for blobs in found.values() for array in blobs) <= len(content)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no "):
        read_caffemodel(tmp_path / "nowhere.caffemodel")
    with pytest.raises(ValueError, match="is not a file"):
        read_caffemodel(tmp_path)


def test_a_file_that_is_larger_than_memory_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "most_bytes", lambda: 100)
    with pytest.raises(ValueError, match="a file of its kind has 100 at most"):
        read(caffemodel(LAYERS), tmp_path)


def test_numpy_s_arrays_keep_the_byte_order_of_the_file(tmp_path: Path) -> None:
    """1.5 is 0x3fc00000, the lowest byte first."""
    shape, data = field(7, field(1, varint(1))), field(5, b"\x00\x00\xc0\x3f")
    assert read(layer("a", [shape + data]), tmp_path)["a"][0].tolist() == [1.5]
    sides = b"".join(whole(number, 1) for number in (1, 2, 3, 4))
    assert read(old_layer("b", [sides + data]), tmp_path)["b"][0].tolist() == [[[[1.5]]]]
