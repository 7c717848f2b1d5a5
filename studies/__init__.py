"""Studies that measure what the documents claim, one per file; `python -m studies` lists them."""
