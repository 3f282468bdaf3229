"""Stems as a text: a store whose BM25 reads words as they are written reads these in their place.

A stem is written as the number that it has in the embedded store's index (`forebay.store.bm25_terms`), so both stores
read chunks and questions alike: by the language of the document, and by all languages of the release.
"""

from collections.abc import Iterable

from forebay.settings import IndexSettings
from forebay.store.bm25_terms import ChunkTerms, QuestionWords

__all__ = ["STEMS", "ChunkStems", "QuestionStems"]

STEMS = "stems"
"""Name of the text in an index; spaces part its words."""

# BM25's weight of a term, tf (k + 1) / (k (1 - b + b length / average) + tf), is tf without b and with a k that is so
# much larger. A power of two, which costs no digits.
_COUNTING = {"bm25_k": 2.0**40, "bm25_b": 0.0}


class ChunkStems:
    """Reads chunks for an index."""

    def __init__(self, settings: IndexSettings) -> None:
        self._terms = ChunkTerms(settings.model_copy(update=_COUNTING))

    def read(self, text: str, language: str) -> str:
        """Give a chunk's stems, each as often as the chunk has it; stop words have none.

        Args:
            text: What of the chunk is embedded.
            language: Of its document: an ISO 639-1 code, or `und`.
        """
        counted = self._terms.read(text, language)
        pairs = zip(counted.indices, counted.values, strict=True)
        return _written(term for term, count in pairs for _ in range(round(count)))


class QuestionStems:
    """Reads questions for a release."""

    def __init__(self, settings: IndexSettings, languages: Iterable[str]) -> None:
        """Prepare for a release.

        Args:
            settings: What it was loaded with.
            languages: Those of its documents.
        """
        self._words = QuestionWords(settings, languages)

    def read(self, question: str) -> str:
        """Give the stems of a question's words in every language of the release, each once; maybe there are none."""
        found = self._words.by_word(question).values()
        return _written(dict.fromkeys(term for terms in found for term in sorted(terms)))


def _written(terms: Iterable[int]) -> str:
    return " ".join(f"{term:08x}" for term in terms)
