"""The content words of a text: stemmed, without stop words, the same terms that the index searches by."""

import re
from collections.abc import Sequence
from functools import lru_cache

from forebay.settings import IndexSettings
from forebay.store.bm25 import bm25_model

__all__ = ["ContentWords", "longest_common_subsequence"]

_WORD = re.compile(r"[^\W_]+", re.UNICODE)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_ENGLISH = "english"
# Negations are stop words, so a language's stop words are left out only where its negations are known.
_NEGATIONS = {
    _ENGLISH: r"\b(?:not|no|never|none|neither|nor|cannot|without)\b|n['\u2019]t\b",
    "dutch": r"\b(?:niet|geen|nooit|niets|niemand|noch|zonder)\b",
    "french": r"\b(?:ne|pas|jamais|aucune?|rien|ni|sans)\b|\bn['\u2019]",
    "german": r"\b(?:nicht|nichts|kein(?:e[mnrs]?)?|nie|niemals|niemand|weder|ohne)\b",
    "italian": r"\b(?:non|mai|nessun[oa]?|niente|nulla|né|senza)\b",
    "portuguese": r"\b(?:não|nunca|jamais|nenhuma?|nada|ninguém|nem|sem)\b",
    "spanish": r"\b(?:no|nunca|jamás|ningún|ningun[oa]|nada|nadie|ni|sin)\b",
    "swedish": r"\b(?:inte|ej|aldrig|ingen|inget|inga|varken|utan)\b",
}


class ContentWords:
    """Reads content words of one language with the tokenizer and stemmer that build the index."""

    def __init__(self, stemmer: str = _ENGLISH) -> None:
        model = bm25_model(IndexSettings(), stemmer, keeps_stop_words=stemmer not in _NEGATIONS)
        self._negation = re.compile(_NEGATIONS.get(stemmer, _NEGATIONS[_ENGLISH]), re.IGNORECASE)

        def stem(word: str) -> int | None:
            terms = model.embed_document(word).indices
            return terms[0] if terms else None

        self.is_english = stemmer == _ENGLISH
        """Whether the words are English ones."""
        self.stem = lru_cache(maxsize=50_000)(stem)
        """Gives the term of a word in small letters; None for a stop word."""

    def read(self, text: str) -> list[int]:
        """Give the terms of `text` in order; a term stands as often as the text has it."""
        terms = (self.stem(word) for word in self.split(text))
        return [term for term in terms if term is not None]

    @staticmethod
    def split(text: str) -> list[str]:
        """Give the words of `text` in order, in small letters."""
        return _WORD.findall(text.lower())

    @staticmethod
    def numbers(text: str) -> set[str]:
        """Give the numbers in `text` as written, without grouping commas."""
        return {match.replace(",", "").rstrip(".") for match in _NUMBER.findall(text)}

    def is_negated(self, text: str) -> bool:
        """Say whether `text` contains a negation, which the stop words would hide."""
        return self._negation.search(text) is not None


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
