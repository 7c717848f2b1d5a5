"""Reads the weights in a .caffemodel file, without Caffe and without protobuf.

The file is one message of caffe.proto in protobuf's wire format: fields with a number and a kind,
each of which says its own length. What is needed are the layers' names and blobs; all else is
skipped. Nothing in the file is trusted: lengths, counts and shapes are checked before their use.
"""

from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from context_agg.runs.checkpoints import most_bytes
from context_agg.runs.reading import read_bytes

Blobs = list[NDArray[np.float32]]
Value = int | memoryview
"""A number, or the bytes of a string, of packed numbers, or of a message inside."""

VARINT, FIXED_64, BYTES, FIXED_32 = 0, 1, 2, 5  # the kinds of fields that are not deprecated

LAYER, OLD_LAYER = 100, 2  # fields of a net: layers since 2014, and before
NAME, BLOB = 1, 7  # fields of a layer
OLD_NAME, OLD_BLOB, OLDEST = 4, 6, 1  # of an old layer, which may hold one of an even older kind
SHAPE, DATA, DOUBLES = 7, 5, 8  # fields of a blob
OLD_SHAPE = (1, 2, 3, 4)  # number, channels, height and width, before there were shapes
DIMENSION = 1  # field of a shape

MOST_FIELDS = 10_000  # of one message
MOST_AXES = 8  # of a blob
MOST_NAME = 200  # bytes


def read_caffemodel(file: Path) -> dict[str, Blobs]:
    """The blobs of each layer that has any, by its name: weights and bias of a convolution.

    The arrays are views of the file's bytes and cannot be changed.

    Raises:
        FileNotFoundError: if there is no such file.
        OSError, ValueError: if it cannot be read, or is not what Caffe writes.
    """
    content = memoryview(read_bytes(file, most_bytes()))
    layers: dict[str, Blobs] = {}
    try:
        for number, value in _fields(content):
            if number not in (LAYER, OLD_LAYER):
                continue
            name, blobs = _layer(_bytes(value), old=number == OLD_LAYER)
            if blobs and name in layers:
                raise ValueError(f"it has two layers {name!r} with weights")
            if blobs:
                layers[name] = blobs
        if not layers:
            raise ValueError("it has no layer with weights")
    except ValueError as error:
        raise ValueError(f"{file} is not a .caffemodel that can be read: {error}") from error
    return layers


def _layer(message: memoryview, *, old: bool) -> tuple[str, Blobs]:
    name, blobs = "", []
    name_field, blob_field = (OLD_NAME, OLD_BLOB) if old else (NAME, BLOB)
    for number, value in _fields(message):
        if old and number == OLDEST:
            raise ValueError("its layers have the form of 2013; let Caffe upgrade it first")
        if number == name_field:
            name = _text(_bytes(value))
        elif number == blob_field:
            blobs.append(_bytes(value))
    return name, [_blob(blob, name) for blob in blobs]


def _blob(message: memoryview, layer: str) -> NDArray[np.float32]:
    shape: Sequence[int] = ()
    old_shape = dict.fromkeys(OLD_SHAPE, 0)
    data: memoryview | None = None
    for number, value in _fields(message):
        if number == SHAPE:
            shape = _shape(_bytes(value))
        elif number in old_shape:
            old_shape[number] = _number(value)
        elif number == DOUBLES:
            raise ValueError(f"layer {layer!r} has weights in double precision")
        elif number == DATA:
            if data is not None:
                raise ValueError(f"the weights of layer {layer!r} are in several pieces")
            data = _bytes(value)
    shape = shape or tuple(old_shape.values())
    size = 0 if data is None else data.nbytes
    if data is None or prod(shape) == 0 or 4 * prod(shape) != size:
        raise ValueError(f"layer {layer!r} has {size:,} bytes for weights of shape {list(shape)}")
    return np.frombuffer(data, "<f4").reshape(shape)


def _shape(message: memoryview) -> tuple[int, ...]:
    dimensions: list[int] = []
    for number, value in _fields(message):
        if number != DIMENSION:
            continue
        if isinstance(value, int):  # not packed
            dimensions.append(value)
            continue
        position = 0
        while position < len(value):
            dimension, position = _varint(value, position)
            dimensions.append(dimension)
    if len(dimensions) > MOST_AXES:
        raise ValueError(f"a shape has {len(dimensions)} axes")
    return tuple(dimensions)


def _fields(message: memoryview) -> Iterator[tuple[int, Value]]:
    """The fields of a message, in order: their numbers and values."""
    position = count = 0
    while position < len(message):
        count += 1
        if count > MOST_FIELDS:
            raise ValueError(f"a message has more than {MOST_FIELDS:,} fields")
        key, position = _varint(message, position)
        number, kind = key >> 3, key & 7
        if kind == VARINT:
            value, position = _varint(message, position)
            yield number, value
            continue
        if kind == BYTES:
            length, position = _varint(message, position)
        elif kind in (FIXED_32, FIXED_64):
            length = 4 if kind == FIXED_32 else 8
        else:
            raise ValueError(f"there is a field of kind {kind}")
        if length > len(message) - position:
            raise ValueError("it is cut off, or a length in it is wrong")
        yield number, message[position : position + length]
        position += length


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """A number of up to 64 bits, seven to a byte, the lowest first; and where it ends."""
    number = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            raise ValueError("it ends within a number")
        byte = message[position]
        position += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, position
    raise ValueError("a number in it has more than 64 bits")


def _bytes(value: Value) -> memoryview:
    if isinstance(value, int):
        raise ValueError("there is a number where a message should be")
    return value


def _number(value: Value) -> int:
    if not isinstance(value, int):
        raise ValueError("there is a message where a number should be")
    return value


def _text(value: memoryview) -> str:
    if len(value) > MOST_NAME:
        raise ValueError(f"the name of a layer has {len(value):,} bytes")
    text = bytes(value).decode()  # a UnicodeDecodeError is a ValueError
    if not text.isprintable():
        raise ValueError(f"the name of a layer is {text!r}")
    return text
