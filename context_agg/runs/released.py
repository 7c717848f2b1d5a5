"""The networks that the paper's authors have released, as directories of runs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig
from safetensors.torch import save
from torch import Tensor, nn

from context_agg.cli.compose import compose_config
from context_agg.data.cityscapes import CLASSES as CITYSCAPES
from context_agg.data.spec import DataSpec
from context_agg.data.voc2012 import CLASSES as VOC
from context_agg.networks.context_net import ContextNet
from context_agg.networks.vgg import VGGFrontEnd, bilinear_kernel
from context_agg.runs import atomic
from context_agg.runs.build import network_without_memory
from context_agg.runs.caffemodel import Blobs, read_caffemodel
from context_agg.runs.directory import WEIGHTS, begin

STREETS = (
    "building",
    "tree",
    "sky",
    "car",
    "sign",
    "road",
    "pedestrian",
    "fence",
    "pole",
    "sidewalk",
    "bicyclist",
)
"""The classes of CamVid and KITTI in the authors' order, which is that of the paper's tables."""

UPSAMPLE = "ctx_upsample"  # a layer that is not trained
MOST_DEVIATION = 1e-4  # of its weights from the bilinear ones


@dataclass(frozen=True)
class ReleasedNet:
    """What the authors' files of one network do not say themselves.

    Args:
        data: name of the data set.
        classes: names of the classes, in order.
        image_size: height and width of its images, in pixels.
        mean: what was subtracted from blue, green and red, in 0..255.
        final: name of the front end's last layer.
        context: what the names of the context module's layers begin with.
    """

    data: str
    classes: Sequence[str]
    image_size: tuple[int, int]
    mean: tuple[float, float, float]
    final: str = "final"
    context: str = "ctx"

    @property
    def spec(self) -> DataSpec:
        """The description of its data."""
        return DataSpec(self.data, 3, self.image_size, tuple(self.classes), dense=True)


NETS: Mapping[str, ReleasedNet] = {
    "dilation8_voc": ReleasedNet(
        "VOC 2012", VOC, (500, 500), (102.93, 111.36, 116.52), final="fc-final", context="ct"
    ),
    "dilation8_camvid": ReleasedNet(
        "CamVid", STREETS, (480, 640), (110.70313206, 108.77808759, 105.41212523)
    ),
    "dilation7_kitti": ReleasedNet(
        "KITTI", STREETS, (370, 1226), (96.19429688, 95.55136972, 91.34692262)
    ),
    "dilation10_cityscapes": ReleasedNet(
        "Cityscapes", CITYSCAPES, (1024, 2048), (72.39239876, 82.90891754, 73.15835921)
    ),
}
"""By name; the experiment paper/NAME describes the network."""


def convert(file: Path, name: str, out: Path) -> int:
    """Writes the weights of a released network, a .caffemodel, as the directory of a run.

    Returns:
        The number of weights.

    Raises:
        FileExistsError: if `out` exists.
        OSError, ValueError: if the file is damaged or of another network; if `out` cannot be
            written. There is no `out` then.
    """
    if out.exists():
        raise FileExistsError(f"{out} already exists; delete it or name another directory")
    released = NETS[name]
    layers = read_caffemodel(file)
    cfg = settings(name)
    network = network_without_memory(cfg, released.spec)
    try:
        weights = converted(layers, network, released)
    except ValueError as error:
        raise ValueError(f"{file} does not hold {name}: {error}") from error
    try:
        with atomic.new_folder(out) as folder:
            begin(folder, cfg, released.spec)
            atomic.write(folder / WEIGHTS, save(weights))
    except OSError as error:
        raise OSError(f"cannot write {out}: {error.strerror}; name another directory") from error
    return sum(weight.numel() for weight in weights.values())


def settings(name: str) -> DictConfig:
    """The configuration of a released network, with the inputs that its weights want.

    The authors subtract the mean from pixels in 0..255 and do not scale them, as here a division
    by 1/255 does.
    """
    cfg = compose_config(f"experiment=paper/{name}")
    cfg.front_end.mean = [channel / 255 for channel in reversed(NETS[name].mean)]
    cfg.front_end.std = [1 / 255] * 3
    return cfg


def converted(
    layers: Mapping[str, Blobs], network: nn.Module, released: ReleasedNet
) -> dict[str, Tensor]:
    """The weights under our names; those of the first layer for red, green, blue, in this order.

    Raises:
        ValueError: naming the first layer that is missing, too many, or of another shape.
    """
    weights: dict[str, Tensor] = {}
    rest = dict(layers)
    for theirs, ours, conv in _convolutions(network, released):
        if theirs not in rest:
            raise ValueError(f"it has no layer {theirs!r}; it has {', '.join(layers)}")
        blobs = rest.pop(theirs)
        parts = {"weight": conv.weight, "bias": conv.bias}
        if len(blobs) != len(parts):
            raise ValueError(f"layer {theirs!r} has {len(blobs)} blobs, not weights and bias")
        for (part, wanted), blob in zip(parts.items(), blobs, strict=True):
            assert wanted is not None
            if _without_ones(blob.shape) != _without_ones(wanted.shape):
                raise ValueError(
                    f"the {part} of layer {theirs!r} has shape {list(blob.shape)}, not "
                    f"{list(wanted.shape)}"
                )
            if not np.isfinite(blob).all():
                raise ValueError(f"the {part} of layer {theirs!r} is not finite")
            weights[f"{ours}.{part}"] = torch.tensor(blob).reshape(wanted.shape)
    if (blobs := rest.pop(UPSAMPLE, [])) and not _are_bilinear(blobs):
        raise ValueError(f"layer {UPSAMPLE!r} does not interpolate bilinearly")
    if rest:
        raise ValueError(f"it has other layers too: {', '.join(rest)}")
    first = "front_end.layers.conv1_1.weight"
    weights[first] = weights[first].flip(1).contiguous()
    return weights


def _convolutions(
    network: nn.Module, released: ReleasedNet
) -> Iterator[tuple[str, str, nn.Conv2d]]:
    """The authors' name of each layer, ours, and the layer."""
    assert isinstance(network, ContextNet)
    assert isinstance(network.front_end, VGGFrontEnd)
    for name, conv in network.front_end.convolutions.items():
        yield released.final if name == "final" else name, f"front_end.layers.{name}", conv
    context = network.context.convolutions
    middle = [f"conv{number}_1" for number in range(2, len(context) - 2)]
    names = ["conv1_1", "conv1_2", *middle, "fc1", "final"]
    for number, (name, conv) in enumerate(zip(names, context, strict=True)):
        yield f"{released.context}_{name}", f"context.layers.{number}", conv


def _without_ones(shape: Sequence[int]) -> list[int]:
    """A shape without its axes of length 1: Caffe once gave every blob four axes."""
    return [side for side in shape if side != 1]


def _are_bilinear(blobs: Blobs) -> bool:
    kernel = bilinear_kernel().numpy()
    return blobs[0].shape[-2:] == kernel.shape and bool(
        (np.abs(blobs[0] - kernel) < MOST_DEVIATION).all()
    )
