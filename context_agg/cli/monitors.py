"""The scalars that say which epoch of a run, or which run of a search, is best."""

MODES = {"val/accuracy": "max", "val/iou": "max", "val/loss": "min"}
"""For each of them, whether its largest or its smallest value is best."""
