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
    part: int
    """Position of its part whose chunk has that evidence."""
    share: float
    """Between 0 and 1; see `find_support`."""


def find_support(sentence: str, passages: Sequence[Passage]) -> Support | None:
    """Find the passage that supports a sentence best.

    The sentence is compared with every sentence of a passage, with every two that follow each other in one chunk, and
    with its title. Its share is the mean of two shares of its content words: those that the place has at all, and
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
        for text, place, part in _places(passage):
            share = _share(terms, place, least=best.share if best else 0.0)
            if share > 0 and numbers <= words.numbers(text) and is_negated == words.is_negated(text):
                best = Support(position, part, share)
    return best


def _places(passage: Passage) -> list[tuple[str, Sequence[int], int]]:
    sentences = passage.sentences
    places: list[tuple[str, Sequence[int], int]] = [(s.text, s.terms, s.parts[0]) for s in sentences]
    for a, b in pairwise(sentences):
        both = [part for part in a.parts if part in b.parts]
        places += [(f"{a.text} {b.text}", a.terms + b.terms, part) for part in both[:1]]
    if passage.hit.title:
        places.append((passage.hit.title, passage.words.read(passage.hit.title), passage.own))
    return places


def _share(terms: Sequence[int], place: Sequence[int], least: float) -> float:
    """Give the share; 0 where it isn't above `least`, which most places are refused for without their order."""
    held = set(place)
    covered = sum(term in held for term in terms)
    if not covered or covered <= least * len(terms):
        return 0.0
    share = (covered + longest_common_subsequence(terms, place)) / (2 * len(terms))
    return share if share > least else 0.0
