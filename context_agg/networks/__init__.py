"""Networks: the context module, and what is built around and beside it."""
