"""Retrieved passages as the grounding sees them: their sentences, and which of them concern a question."""

from collections.abc import Callable, Sequence
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
        self.words = words
        """Those of the passage's language."""

    @cached_property
    def sentences(self) -> list[PassageSentence]:
        """The sentences of the passage's text."""
        texts = split_sentences(self.hit.text)
        return [PassageSentence(text, tuple(self.words.read(text))) for text in texts]

    @cached_property
    def terms(self) -> frozenset[int]:
        """Content words of the title, the headings and the text."""
        hit = self.hit
        return frozenset(self.words.read(f"{hit.title}\n{hit.heading_path}\n{hit.text}"))


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
        At most `limit`, best first; none where no hit at all is relevant.
    """
    passages = [Passage(hit, words_of(hit.language)) for hit in hits]

    def is_near(passage: Passage, least: float) -> bool:
        return is_relevant(passage.hit, passage.words.read(question), passage.terms, least)

    if not any(is_near(passage, min_similarity) for passage in passages):
        return []
    return [passage for passage in passages if is_near(passage, min_similarity - _RELEVANCE_SLACK)][:limit]


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
