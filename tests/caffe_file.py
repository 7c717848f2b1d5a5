"""Writes .caffemodel files: protobuf's wire format by hand, in the forms that Caffe has used."""

import struct
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Layers = Mapping[str, Sequence[NDArray[np.float32]]]


def varint(number: int) -> bytes:
    low, rest = number & 127, number >> 7
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def field(number: int, content: bytes) -> bytes:
    """A field of bytes: a string, packed numbers or a message."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def whole(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)


def blob(array: NDArray[np.float32], *, old: bool = False) -> bytes:
    if old:  # always four axes: number, channels, height, width
        sides = (1,) * (4 - array.ndim) + array.shape
        shape = b"".join(whole(number, side) for number, side in enumerate(sides, 1))
    else:
        shape = field(7, field(1, b"".join(map(varint, array.shape))))
    return shape + field(5, array.astype("<f4").tobytes())


def layer(name: str, blobs: Sequence[bytes]) -> bytes:
    """A layer since 2014, with what else is in one: its type, bottom, top and learning rates."""
    rates = field(6, varint(3 << 3 | 5) + struct.pack("<f", 2.0))
    head = field(1, name.encode()) + field(2, b"Convolution") + field(3, b"data") + field(4, b"top")
    convolution = field(106, whole(1, 64) + field(4, varint(3)))
    body = b"".join(field(7, content) for content in blobs)
    return field(100, head + rates + body + whole(10, 1) + convolution)


def old_layer(name: str, blobs: Sequence[bytes]) -> bytes:
    """A layer before 2014: other numbers, and the type is a number too (4: a convolution)."""
    body = b"".join(field(6, content) for content in blobs)
    rate = varint(7 << 3 | 5) + struct.pack("<f", 1.0)
    return field(2, field(2, b"data") + field(4, name.encode()) + whole(5, 4) + body + rate)


def caffemodel(layers: Layers, *, old: bool = False) -> bytes:
    """A net with these layers, and one each of data and ReLU, which have no weights."""
    write = old_layer if old else layer
    head = field(1, b"a net") + field(3, b"data") + whole(5, 0)
    body = [write(name, [blob(a, old=old) for a in arrays]) for name, arrays in layers.items()]
    return head + write("data", []) + b"".join(body) + write("relu", [])
