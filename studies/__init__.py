"""What the documents claim, measured: one file per study. `python -m studies` lists them."""
