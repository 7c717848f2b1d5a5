"""Writes small files in MNIST's format."""

from pathlib import Path

import numpy as np

TRAIN, TEST = 5_200, 60


def write_mnist(root: Path, name: str = "MNIST") -> Path:
    """Writes random images with the label in the first pixel; returns the folder of the files."""
    folder = root / name / "raw"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for prefix, count in (("train", TRAIN), ("t10k", TEST)):
        labels = generator.permutation(count).astype(np.uint8) % 10
        images = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        images[:, 0, 0] = labels
        write_idx(folder / f"{prefix}-images-idx3-ubyte", 2051, images)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", 2049, labels)
    return folder


def write_idx(file: Path, magic: int, values: np.ndarray) -> None:
    header = np.array([magic, *values.shape], dtype=">i4")
    file.write_bytes(header.tobytes() + values.tobytes())
