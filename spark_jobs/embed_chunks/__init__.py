"""Embed the chunk texts that have no vector yet."""
