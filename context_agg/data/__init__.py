"""Data sets, each a function that returns an ImageData."""
