"""Retrieved passages as the grounding sees them: their sentences, and which of them concern a question."""

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from math import log1p, sqrt

from bentos.gateway.sentences import split_sentences
from bentos.gateway.words import ContentWords
from forebay.store import Hit
from forebay.store.contract import SectionPart
from forebay.store.neighbours import told_once

__all__ = ["OMITTED", "Passage", "PassageSentence", "best_sentences", "is_relevant", "relevant_passages"]

OMITTED = "\u2026"
"""Stands in a prompt where sentences between others are left out."""

# A passage with this share of the question's words is relevant whatever its vector says: part numbers and
# error codes mean little to an embedding model.
_MIN_WORD_COVERAGE = 0.8
_MIN_COVERED_WORDS = 2
# How far behind the relevance limit a passage may lie once the best one has passed it.
_RELEVANCE_SLACK = 0.1
_MIN_SENTENCE_WORDS = 4


@dataclass(frozen=True)
class PassageSentence:
    """One sentence of a passage."""

    text: str
    """As the passage has it."""
    terms: tuple[int, ...]
    """Its content words, in order."""
    parts: tuple[int, ...]
    """Positions of the parts whose chunks hold all of it, the hit's own first; where none does, of the one that holds
    most of it."""


class Passage:
    """A hit, and its section where it came with one, read once for all checks of one answer."""

    def __init__(self, hit: Hit, words: ContentWords) -> None:
        self.hit = hit
        self.words = words
        """Those of the passage's language."""
        self.parts = hit.section or [SectionPart(hit.chunk_id, hit.start_char, hit.end_char, hit.text)]
        """What the passage is made of, each of one chunk, in the order of the document; without a section the hit."""
        self.own = next(n for n, part in enumerate(self.parts) if part.chunk_id == hit.chunk_id)
        """Position of the hit's own part."""

    @cached_property
    def sentences(self) -> list[PassageSentence]:
        """The sentences of the passage's text; one that chunks share, or are parted by, is told once and whole."""
        text, chunks = _join(self.parts)
        found: list[PassageSentence] = []
        end = 0
        for sentence in split_sentences(text):
            start = text.index(sentence, end)
            end = start + len(sentence)
            found.append(PassageSentence(sentence, tuple(self.words.read(sentence)), self._holders(chunks, start, end)))
        return found

    @cached_property
    def first(self) -> int:
        """Position of the first sentence that the hit itself holds."""
        return next((n for n, sentence in enumerate(self.sentences) if self.own in sentence.parts), 0)

    @cached_property
    def terms(self) -> frozenset[int]:
        """Content words of the title, the headings and the text of the hit."""
        hit = self.hit
        return frozenset(self.words.read(f"{hit.title}\n{hit.heading_path}\n{hit.text}"))

    def _holders(self, chunks: Sequence[tuple[int, int]], start: int, end: int) -> tuple[int, ...]:
        def held(n: int) -> int:
            return min(end, chunks[n][1]) - max(start, chunks[n][0])

        order = sorted(range(len(chunks)), key=lambda n: (n != self.own, n))
        return tuple(n for n in order if held(n) == end - start) or (max(order, key=held),)


def is_relevant(hit: Hit, question_terms: Sequence[int], passage_terms: frozenset[int], min_similarity: float) -> bool:
    """Say whether a hit concerns the question: by its vector, or by holding nearly all of its words."""
    if hit.similarity is not None and hit.similarity >= min_similarity:
        return True
    wanted = set(question_terms)
    covered = len(wanted & passage_terms)
    return covered >= _MIN_COVERED_WORDS and covered >= _MIN_WORD_COVERAGE * len(wanted)


def relevant_passages(
    hits: Sequence[Hit],
    question: str,
    words_of: Callable[[str], ContentWords],
    *,
    min_similarity: float,
    limit: int,
) -> list[Passage]:
    """Choose the passages that an answer may use.

    Args:
        hits: Best first.
        question: The user's question.
        words_of: Gives the content words of a document's language.
        min_similarity: Cosine from which a passage is relevant.
        limit: Most passages.

    Returns:
        At most `limit`, best first; none where no hit at all is relevant. No two of them have a chunk in common.
    """
    passages = [Passage(hit, words_of(hit.language)) for hit in hits]

    def is_near(passage: Passage, least: float) -> bool:
        return is_relevant(passage.hit, passage.words.read(question), passage.terms, least)

    if not any(is_near(passage, min_similarity) for passage in passages):
        return []
    near = (passage for passage in passages if is_near(passage, min_similarity - _RELEVANCE_SLACK))
    return list(islice(_apart(near), limit))


def best_sentences(passages: Sequence[Passage], question: str) -> list[tuple[float, int, int]]:
    """Rank the sentences of all passages by the question's words that they hold.

    Rare words weigh more: ln(1 + n / n_with) over the sentences at hand, as in inverse document frequency.

    Returns:
        (score, passage position, sentence position), best first; sentences that share nothing are left out.
    """
    sentences = [(p, s, sentence) for p, passage in enumerate(passages) for s, sentence in enumerate(passage.sentences)]
    weights = _weights(passages, question)
    ranked: list[tuple[float, int, int]] = []
    for p, s, sentence in sentences:
        wanted = weights[passages[p].words]
        shared = wanted.keys() & set(sentence.terms)
        if shared and len(sentence.terms) >= _MIN_SENTENCE_WORDS:
            # Long sentences hold more words by chance.
            score = sum(wanted[term] for term in shared) / sqrt(10 + len(sentence.terms))
            ranked.append((score / (1 + 0.1 * p), p, s))
    return sorted(ranked, key=lambda item: (-item[0], item[1], item[2]))


def _apart(passages: Iterable[Passage]) -> Generator[Passage]:
    """Leave every chunk to the first passage that has it; hits that are in an earlier one's section are left out.

    The chunks that a passage keeps are whole, with what they share with those that it lost.
    """
    seen: set[str] = set()
    for passage in passages:
        if passage.hit.chunk_id not in seen:
            parts = [part for part in passage.parts if part.chunk_id not in seen]
            seen.update(part.chunk_id for part in parts)
            is_whole = len(parts) == len(passage.parts)
            yield passage if is_whole else Passage(replace(passage.hit, section=told_once(parts)), passage.words)


def _join(parts: Sequence[SectionPart]) -> tuple[str, list[tuple[int, int]]]:
    """Put the parts of a passage together; gives the text, and where in it each part's chunk begins and ends."""
    text, chunks = "", list[tuple[int, int]]()
    told = parts[0].start_char
    for part in parts:
        gap = part.start_char - told
        # What lies between chunks isn't known: a single character joins words, more are a break between paragraphs.
        text += "\n\n" if gap > 1 else " " * gap
        chunks.append((len(text) - len(part.overlap), len(text) + len(part.text)))
        text += part.text
        told = max(told, part.end_char)
    return text, chunks


def _weights(passages: Sequence[Passage], question: str) -> dict[ContentWords, dict[int, float]]:
    """Weigh the question's terms in each language of the passages; a word weighs the same in all of them."""
    weights: dict[ContentWords, dict[int, float]] = {passage.words: {} for passage in passages}
    sentences = [(passage.words, set(sentence.terms)) for passage in passages for sentence in passage.sentences]
    for word in dict.fromkeys(ContentWords.split(question)):
        stems = {words: stem for words in weights if (stem := words.stem(word)) is not None}
        held = sum(stems.get(words) in terms for words, terms in sentences)
        for words, stem in stems.items():
            weights[words][stem] = log1p(len(sentences) / (1 + held))
    return weights
