"""Retrieved passages as the grounding sees them: their sentences, and which of them concern a question."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import log1p, sqrt

from bentos.gateway.sentences import split_sentences
from bentos.gateway.words import ContentWords
from forebay.store import Hit

__all__ = ["Passage", "PassageSentence", "best_sentences", "is_relevant", "relevant_passages"]

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


class Passage:
    """A hit, read once for all checks of one answer."""

    def __init__(self, hit: Hit, words: ContentWords) -> None:
        self.hit = hit
        self._words = words

    @cached_property
    def sentences(self) -> list[PassageSentence]:
        """The sentences of the passage's text."""
        texts = split_sentences(self.hit.text)
        return [PassageSentence(text, tuple(self._words.read(text))) for text in texts]

    @cached_property
    def terms(self) -> frozenset[int]:
        """Content words of the title, the headings and the text."""
        hit = self.hit
        return frozenset(self._words.read(f"{hit.title}\n{hit.heading_path}\n{hit.text}"))


def is_relevant(hit: Hit, question_terms: Sequence[int], passage_terms: frozenset[int], min_similarity: float) -> bool:
    """Say whether a hit concerns the question: by its vector, or by holding nearly all of its words."""
    if hit.similarity is not None and hit.similarity >= min_similarity:
        return True
    wanted = set(question_terms)
    covered = len(wanted & passage_terms)
    return covered >= _MIN_COVERED_WORDS and covered >= _MIN_WORD_COVERAGE * len(wanted)


def relevant_passages(
    hits: Sequence[Hit], question: str, words: ContentWords, *, min_similarity: float, limit: int
) -> list[Passage]:
    """Choose the passages that an answer may use.

    Returns:
        At most `limit`, best first; none where no hit at all is relevant.
    """
    terms = words.read(question)
    passages = [Passage(hit, words) for hit in hits]
    if not any(is_relevant(p.hit, terms, p.terms, min_similarity) for p in passages):
        return []
    near = [p for p in passages if is_relevant(p.hit, terms, p.terms, min_similarity - _RELEVANCE_SLACK)]
    return near[:limit]


def best_sentences(passages: Sequence[Passage], question_terms: Sequence[int]) -> list[tuple[float, int, int]]:
    """Rank the sentences of all passages by the question's words that they hold.

    Rare words weigh more: ln(1 + n / n_with) over the sentences at hand, as in inverse document frequency.

    Returns:
        (score, passage position, sentence position), best first; sentences that share nothing are left out.
    """
    wanted = set(question_terms)
    sentences = [(p, s, sentence) for p, passage in enumerate(passages) for s, sentence in enumerate(passage.sentences)]
    weights = {
        term: log1p(len(sentences) / (1 + sum(term in sentence.terms for _, _, sentence in sentences)))
        for term in wanted
    }
    ranked: list[tuple[float, int, int]] = []
    for p, s, sentence in sentences:
        shared = wanted & set(sentence.terms)
        if shared and len(sentence.terms) >= _MIN_SENTENCE_WORDS:
            # Long sentences hold more words by chance.
            score = sum(weights[term] for term in shared) / sqrt(10 + len(sentence.terms))
            ranked.append((score / (1 + 0.1 * p), p, s))
    return sorted(ranked, key=lambda item: (-item[0], item[1], item[2]))
