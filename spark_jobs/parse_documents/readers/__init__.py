"""Readers: from the bytes of one file to its title and text; one module per format."""
