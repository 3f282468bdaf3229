"""Contracts that both the offline and the online side of Forebay need; importing it loads nothing heavy."""

__all__ = ["__version__"]

__version__ = "0.1.0"
