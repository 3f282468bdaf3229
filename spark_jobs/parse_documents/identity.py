"""What makes a document one: an id that every table takes, and something that can be read."""

import unicodedata

from forebay.documents import content_hash

__all__ = ["MAX_ID_CHARS", "NO_WORDS", "has_words", "id_of_place"]

MAX_ID_CHARS = 512
"""Longest id of a document."""
NO_WORDS = "no text but white space and characters that can't be seen"
"""Why a document without words is rejected."""

# Letters, numbers, punctuation and symbols: what is left are white space, marks, and characters that can't be seen.
_SEEN = frozenset("LNPS")
# What stands for bytes that could not be decoded.
_REPLACEMENT = "\ufffd"


def has_words(text: str) -> bool:
    """Say whether a text has a character that can be seen; models drop the others."""
    return any(unicodedata.category(char)[0] in _SEEN and char != _REPLACEMENT for char in text)


def id_of_place(place: str) -> str:
    """Give the id of a document that is known by its place; the end of a long one is replaced by a hash of it."""
    if len(place) <= MAX_ID_CHARS:
        return place
    digest = content_hash(place)
    return f"{place[: MAX_ID_CHARS - len(digest) - 1]}#{digest}"
