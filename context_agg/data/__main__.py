"""Check images with masks: `python -m context_agg.data DIR`.

DIR holds images/ and masks/, as data=folder takes them, or CamVid, VOC 2012 or Cityscapes in their
published layouts. Every file is read. What is printed: the sizes, how many images are turned as
EXIF says, the numbers in the masks with their shares of the pixels, and what is wrong, file by
file, and class by class if no mask to train on has a pixel of it, or that the images are too few
for the default split. The exit code is 1 if anything is.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from context_agg.cli.errors import exit_on_mistake
from context_agg.cli.parser import command_parser

if TYPE_CHECKING:
    from context_agg.data.survey import Survey

MOST_SIZES = 10  # that are listed


@exit_on_mistake()
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    parser = command_parser("data", __doc__)
    parser.add_argument("folder", metavar="DIR", type=Path, help="folder with images and masks")
    parser.add_argument(
        "--classes", metavar="A,B,...", default="", help="names of your classes, from number 0 on"
    )
    parser.add_argument(
        "--ignore", metavar="NUMBER", type=int, default=255, help="number of pixels without a class"
    )
    given = parser.parse_args(arguments)
    from context_agg.data.survey import Survey, find_parts  # torch, not needed for --help

    classes = given.classes.split(",") if given.classes else []
    survey = Survey(find_parts(given.folder, classes, given.ignore))
    survey.read()
    absent = survey.absent()
    print(*describe(survey), *survey.problems, *absent, sep="\n")
    if survey.problems:
        raise ValueError(f"{len(survey.problems)} of these files cannot be trained on")
    if absent:
        named, way_out = len(survey.parts.classes), survey.parts.code.way_out
        raise ValueError(f"{len(absent)} of {named} classes cannot be learned; {way_out}")
    survey.check_split()
    print("nothing is wrong")
    if len(survey.sizes) > 1:
        print(
            "the images have different sizes, so training needs data.crop=[H,W] or "
            "data.batch_size=1"
        )


def describe(survey: "Survey") -> Iterator[str]:
    """The lines on what is in the files."""
    from context_agg.data.spec import VOID

    parts = survey.parts
    counts = ", ".join(f"{len(files):,} in {part}" for part, files in parts.files.items())
    yield f"{parts.name}: {counts}"
    common = survey.sizes.most_common(MOST_SIZES)
    sizes = ", ".join(f"{width}x{height} ({count:,})" for (width, height), count in common)
    more = len(survey.sizes) - len(common)
    yield f"sizes: {sizes}" + f" and {more} others" * (more > 0)
    if survey.turned:
        count = f"{len(survey.turned):,} image{'s' * (len(survey.turned) > 1)}"
        yield (
            f"turned upright, as EXIF says: {count}, first {survey.turned[0]}; the masks must fit "
            "the upright images"
        )
    found = survey.pixels.nonzero()[0].tolist()
    if not found:
        return
    yield f"numbers in the masks: {found[0]} to {found[-1]}"
    labels = parts.code.labels
    expected = {number for number, label in labels.items() if label != VOID and parts.classes}
    counted = sum(survey.pixels[number] for number in found if labels.get(number, VOID) != VOID)
    yield f"{'number':>6}  {'class':<16} {'pixels':>14}  {'share':>7} {'masks':>7}"
    for number in sorted({*found, *expected}):
        label = labels.get(number)
        share = f"{survey.pixels[number] / counted:.2%}" if counted else ""
        if label is None:
            name, share = "(not a label)", ""
        elif label == VOID:
            name, share = "(ignored)", ""
        else:
            name = parts.classes[label] if parts.classes else ""
        yield (
            f"{number:>6}  {name:<16} {survey.pixels[number]:>14,}  {share:>7} "
            f"{survey.images[number]:>7,}"
        )


if __name__ == "__main__":
    main()
