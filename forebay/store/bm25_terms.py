"""BM25 terms in several languages: a chunk is read by its document's stemmer, a question by all that the release needs.

Every stemmer's terms have numbers of their own. So a question's word is looked for in each chunk by the stem that the
chunk's own language gives it, and by no other: no chunk is found by a foreign stem that happens to be one of its words,
and none counts a word twice.
"""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from qdrant_edge import SparseVector

from forebay.languages import BY_DOCUMENT, UNDETERMINED, stemmer_of
from forebay.settings import IndexSettings
from forebay.store.bm25 import DocumentFrequencies, bm25_model

__all__ = ["ChunkTerms", "QuestionTerms", "QuestionWords"]


class _Reader:
    """One stemmer of an index."""

    def __init__(self, settings: IndexSettings, stemmer: str) -> None:
        self.model = bm25_model(settings, stemmer)
        is_alone = settings.bm25_language != BY_DOCUMENT
        self._salt = 0 if is_alone else int.from_bytes(_digest(stemmer), "little")

    def numbers(self, vector: SparseVector) -> list[int]:
        """Give a vector's terms the numbers that they have in the index, in the vector's order."""
        salt = self._salt
        return [index ^ salt for index in vector.indices]


class ChunkTerms:
    """Reads chunks for an index."""

    def __init__(self, settings: IndexSettings) -> None:
        self._settings = settings
        self._readers: dict[str, _Reader] = {}

    def read(self, text: str, language: str) -> SparseVector:
        """Give the weights of a chunk's terms.

        Args:
            text: What of the chunk is embedded.
            language: Of its document: an ISO 639-1 code, or `und`.
        """
        reader = self._reader(language)
        vector = reader.model.embed_document(text)
        return SparseVector(reader.numbers(vector), vector.values)

    def _reader(self, language: str) -> _Reader:
        stemmer = _stemmer(self._settings, language)
        if stemmer not in self._readers:
            self._readers[stemmer] = _Reader(self._settings, stemmer)
        return self._readers[stemmer]


class QuestionWords:
    """Reads the words of questions for a release, by every stemmer that read one of its chunks."""

    def __init__(self, settings: IndexSettings, languages: Iterable[str]) -> None:
        """Prepare for a release.

        Args:
            settings: What it was built with.
            languages: Those of its documents.
        """
        stemmers = {_stemmer(settings, language) for language in languages} or {_stemmer(settings, UNDETERMINED)}
        self.readers = {stemmer: _Reader(settings, stemmer) for stemmer in sorted(stemmers)}
        """By the names of their stemmers."""

    def by_word(self, question: str) -> dict[str, set[int]]:
        """Give the terms that stem from each word of a question."""
        return {
            word: {term for reader in self.readers.values() for term in reader.numbers(reader.model.embed_query(word))}
            for word in _words(question)
        }


class QuestionTerms:
    """Weighs the terms of questions for a release."""

    def __init__(self, settings: IndexSettings, frequencies: DocumentFrequencies, chunks: Mapping[str, int]) -> None:
        """Prepare for a release.

        Args:
            settings: What its shards were built with.
            frequencies: Document frequencies of the release.
            chunks: Its chunks by the language of their documents.
        """
        self._frequencies = frequencies
        self._chunks = Counter[str]()
        for language, count in chunks.items():
            self._chunks[_stemmer(settings, language)] += count
        self.words = QuestionWords(settings, chunks)
        """Reads a question word by word."""

    def read(self, question: str) -> SparseVector:
        """Give the weights of a question's terms: the inverse document frequency of the word that they stem from.

        The word's frequency is that in all languages together, so that names and identifiers weigh the same in each;
        a language in which it is a stop word counts with all of its chunks. Terms that no chunk contains are left out.
        """
        readers = self.words.readers
        if len(readers) == 1:
            (reader,) = readers.values()
            vector = reader.model.embed_query(question)
            return self._frequencies.weigh(SparseVector(reader.numbers(vector), vector.values))
        words = [
            {stemmer: reader.numbers(reader.model.embed_query(word)) for stemmer, reader in readers.items()}
            for word in dict.fromkeys(_words(question))
        ]
        terms = np.array([term for word in words for found in word.values() for term in found], np.uint32)
        held = dict(zip(terms.tolist(), self._frequencies.chunks_with(terms).tolist(), strict=True))
        counts: dict[int, int] = {}
        for word in words:
            among = self._chunks_with(word, held)
            for term in (term for found in word.values() for term in found if held[term]):
                # Two words may have one stem in this language and two in another.
                counts[term] = max(among or held[term], counts.get(term, 0))
        weights = self._frequencies.rarity(np.array(list(counts.values()), np.int64))
        return SparseVector(list(counts), weights.tolist())

    def _chunks_with(self, word: Mapping[str, Sequence[int]], held: Mapping[int, int]) -> int:
        """Count the chunks with a word of all languages; 0 where it is more than one word in one of them."""
        if any(len(found) > 1 for found in word.values()):
            return 0
        return sum(held[found[0]] if found else self._chunks[stemmer] for stemmer, found in word.items())


def _stemmer(settings: IndexSettings, language: str) -> str:
    return stemmer_of(language, settings.bm25_language, settings.bm25_fallback_language)


def _digest(stemmer: str) -> bytes:
    return hashlib.blake2b(stemmer.encode(), digest_size=4).digest()


def _words(text: str) -> list[str]:
    """Cut a question where Qdrant's tokenizer certainly does; where it may cut further, it does so itself."""
    held = (character if _may_be_in_a_word(character) else " " for character in text.lower())
    return "".join(held).split()


def _may_be_in_a_word(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] in "LNM" or category == "So"
