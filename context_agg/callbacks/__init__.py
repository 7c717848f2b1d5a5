"""Lightning callbacks that watch or change a run, one per file."""
