"""Data sets: each is a function that returns an ImageData."""
