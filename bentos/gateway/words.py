"""The content words of a text: stemmed, without stop words, the same terms that the index searches by."""

import re
from collections.abc import Sequence
from functools import lru_cache

from forebay.settings import IndexSettings
from forebay.store.bm25 import bm25_model

__all__ = ["ContentWords", "longest_common_subsequence"]

_WORD = re.compile(r"[^\W_]+", re.UNICODE)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_NEGATION = re.compile(r"\b(?:not|no|never|none|neither|nor|cannot|without)\b|n['\u2019]t\b", re.IGNORECASE)


class ContentWords:
    """Reads content words with the tokenizer and stemmer that built the index."""

    def __init__(self, settings: IndexSettings) -> None:
        model = bm25_model(settings)

        def stem(word: str) -> int | None:
            terms = model.embed_document(word).indices
            return terms[0] if terms else None

        self._stem = lru_cache(maxsize=50_000)(stem)

    def read(self, text: str) -> list[int]:
        """Give the terms of `text` in order; a term stands as often as the text has it."""
        terms = (self._stem(word) for word in _WORD.findall(text.lower()))
        return [term for term in terms if term is not None]

    @staticmethod
    def numbers(text: str) -> set[str]:
        """Give the numbers in `text` as written, without grouping commas."""
        return {match.replace(",", "").rstrip(".") for match in _NUMBER.findall(text)}

    @staticmethod
    def is_negated(text: str) -> bool:
        """Say whether `text` contains an English negation, which the stop words would hide."""
        return _NEGATION.search(text) is not None


def longest_common_subsequence(left: Sequence[int], right: Sequence[int]) -> int:
    """Count the terms that both sequences share in the same order (as in ROUGE-L; Source: Lin 2004)."""
    row = [0] * (len(right) + 1)
    for a in left:
        diagonal = 0
        for position, b in enumerate(right, start=1):
            diagonal, row[position] = (
                row[position],
                diagonal + 1 if a == b else max(row[position], row[position - 1]),
            )
    return row[-1]
