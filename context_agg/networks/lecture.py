"""The baseline: the MNIST network of a Stanford lecture (CS 20, note 7); it pools."""

from torch import Tensor, nn

from context_agg.ops.checks import check_choice, check_number

INITS = ("default", "lecture")


class LectureNet(nn.Module):
    """Two 5x5 convolutions with ReLU and pooling, then a hidden layer of 1,024 with dropout.

    Args:
        init: "default" (PyTorch's), or "lecture": weights from N(0, 1) truncated at 2, biases of
            the convolutions from N(0, 1), the other biases 0.
        dropout: share of the hidden layer that is dropped, in training only; the lecture's script
            dropped units in testing too.
        in_channels: channels of the image.
        image_size: height and width of the image, in pixels; at least 4.
        num_classes: K.
        dense: whether every pixel has a class of its own; not supported.

    Shape: (N, in_channels, H, W) -> logits (N, K).

    Raises:
        ValueError: for a value that is not valid.
    """

    def __init__(
        self,
        init: str,
        dropout: float,
        *,
        in_channels: int,
        image_size: tuple[int, int],
        num_classes: int,
        dense: bool = False,
    ) -> None:
        super().__init__()
        if dense:
            raise ValueError("model=lecture classifies whole images; take another for dense data")
        check_choice("init", init, INITS)
        check_number("dropout", dropout, 0)
        if dropout >= 1:
            raise ValueError(f"dropout={dropout} must be at least 0 and below 1")
        if min(image_size) < 4:
            raise ValueError(
                f"the image is {image_size[0]}x{image_size[1]}, too small to pool twice"
            )
        height, width = (side // 4 for side in image_size)
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, 32, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(64 * height * width, 1024),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(1024, num_classes),
        )
        if init == "lecture":
            for layer in self.layers:
                if isinstance(layer, nn.Conv2d | nn.Linear):
                    nn.init.trunc_normal_(layer.weight, std=1.0)
                    assert layer.bias is not None
                    if isinstance(layer, nn.Conv2d):
                        nn.init.normal_(layer.bias)
                    else:
                        nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layers(x)
        return logits
