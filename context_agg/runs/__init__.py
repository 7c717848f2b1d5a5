"""A run: built, trained, in its directory, read again, compared with others."""
