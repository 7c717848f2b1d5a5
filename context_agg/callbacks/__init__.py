"""Watchers of a run: one per file."""
