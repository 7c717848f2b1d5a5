"""Runs: building one, its directory, reading it again, and comparing several."""
