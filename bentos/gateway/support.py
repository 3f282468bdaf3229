"""How well a passage supports a sentence that a model wrote."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from bentos.gateway.passages import Passage
from bentos.gateway.words import longest_common_subsequence

__all__ = ["Support", "find_support"]


@dataclass(frozen=True)
class Support:
    """The best evidence for one sentence."""

    position: int
    """Position of the passage."""
    share: float
    """Between 0 and 1; see `find_support`."""


def find_support(sentence: str, passages: Sequence[Passage]) -> Support | None:
    """Find the passage that supports a sentence best.

    The sentence is compared with every sentence of a passage, with every two that follow each other, and with
    its title. Its share is the mean of two shares of its content words: those that the place has at all, and
    those that it has in the same order (ROUGE-L precision; Source: Lin 2004), because a model that puts the
    right words together wrongly is still wrong.

    A place that lacks one of the sentence's numbers doesn't support it at all, and neither does one that is
    negated where the sentence isn't, or the other way round. Words are compared in the language of the passage.

    Returns:
        None where no passage supports the sentence, or the sentence has no content words.
    """
    best: Support | None = None
    for position, passage in enumerate(passages):
        words = passage.words
        terms, numbers, is_negated = words.read(sentence), words.numbers(sentence), words.is_negated(sentence)
        for text, place in _places(passage):
            share = _share(terms, place)
            if best is not None and share <= best.share:
                continue
            if share > 0 and numbers <= words.numbers(text) and is_negated == words.is_negated(text):
                best = Support(position, share)
    return best


def _places(passage: Passage) -> list[tuple[str, Sequence[int]]]:
    sentences = passage.sentences
    places: list[tuple[str, Sequence[int]]] = [(s.text, s.terms) for s in sentences]
    places += [(f"{a.text} {b.text}", a.terms + b.terms) for a, b in pairwise(sentences)]
    if passage.hit.title:
        places.append((passage.hit.title, passage.words.read(passage.hit.title)))
    return places


def _share(terms: Sequence[int], place: Sequence[int]) -> float:
    held = set(place)
    covered = sum(term in held for term in terms)
    if not covered:
        return 0.0
    return (covered + longest_common_subsequence(terms, place)) / (2 * len(terms))
