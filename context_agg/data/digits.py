"""scikit-learn's handwritten digits: small real images that come with the library."""

import sklearn.datasets
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import pad, resize

from context_agg.data.augment import RandomAffine
from context_agg.data.batches import Images
from context_agg.data.images import ImageData, stratified_split

TEST_IMAGES = 360
VALIDATION_IMAGES = 180
MARGIN = 4  # pixels around a digit, as in MNIST
SIDE = 28  # of an image, with its margins


def load_digits(
    *,
    batch_size: int,
    shift: int,
    held_out: str,
    seed: int,
    rotate: float = 0.0,
    zoom: float = 0.0,
) -> ImageData:
    """1,797 digits of 8x8 pixels in 17 shades, enlarged to 20x20 and centred in 28x28 as in MNIST.

    The split is fixed and stratified: 1,257 training, 180 validation and 360 test images.

    Args:
        batch_size: images in a batch.
        shift: the largest random shift of training images, in pixels; less than their side.
        rotate: the largest random rotation, in degrees; at most 180.
        zoom: the random scale factor is between 1 / (1 + zoom) and 1 + zoom; at most 10.
        held_out: "validation" or "test".
        seed: seed of the order and of the random changes of the training images.
    """
    train, validation, test = digit_sets()
    return ImageData(
        train,
        validation,
        test,
        name="digits",
        classes="0123456789",
        margin=MARGIN,
        ink=True,
        batch_size=batch_size,
        held_out=held_out,
        seed=seed,
        augment=RandomAffine(shift, rotate, zoom, side=SIDE),
    )


def digit_sets() -> tuple[Images, Images, Images]:
    """The training, validation and test images, (N, 1, 28, 28), with their classes."""
    digits = sklearn.datasets.load_digits()
    images = torch.from_numpy(digits.images).float()[:, None] * (255 / 16)
    images = pad(resize(images, [SIDE - 2 * MARGIN] * 2, InterpolationMode.BILINEAR), [MARGIN] * 4)
    target = torch.from_numpy(digits.target)
    rest, test = stratified_split(images.round().to(torch.uint8), target, TEST_IMAGES)
    return *stratified_split(*rest, VALIDATION_IMAGES), test
