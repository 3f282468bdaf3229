"""Checking a model's answer sentence by sentence against the passages, while it is being written."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from bentos.gateway.passages import OMITTED, Passage, best_sentences
from bentos.gateway.sentences import SentenceStream
from bentos.gateway.support import Support, find_support

__all__ = ["REFUSAL", "AnswerChecker", "Citation", "Grounding", "cite", "quote_passages"]

REFUSAL = "The indexed documents don't hold an answer to this question."

_MARKERS = re.compile(r"\s*\[\s*\d{1,3}(?:\s*[,;-]\s*\d{1,3})*\s*\]")
_LEAD = re.compile(r"\A(?:\s*(?:[-*•#>]+|\d{1,2}[.)]|\(\d{1,2}\)|answer:)\s+)+", re.IGNORECASE)
_POINTS_BACK = re.compile(r"\A(?:this|these|those|that|it|its|they|their|such|he|she|both)\b", re.IGNORECASE)
_SPACE_BEFORE_STOP = re.compile(r"\s+([.,;:!?)])")
_STOP = re.compile(r"[.!?]+[\"'\u201d\u2019)]*\Z")
# A small model sometimes stops in the middle: `... are presented in the range of.`
_BREAKS_OFF = re.compile(
    r"\b(?:of|the|a|an|and|or|with|by|from|at|than|which|whose|its|their)[.!?\"']*\Z", re.IGNORECASE
)
_MIN_TERMS = 3
_MAX_SENTENCES = 4
# A small model that has left the passages, or goes round in circles, rarely finds back.
_MAX_DROPPED_IN_ROW = 3
_ECHO_SHARE = 0.9
_REPEAT_SHARE = 0.8
_MAX_EMPTY_CHARS = 80
_MAX_QUOTES = 2
_QUOTE_SHARE = 0.6


class Grounding(StrEnum):
    """Where the words of an answer come from."""

    GENERATED = "generated"
    EXTRACTIVE = "extractive"
    REFUSED = "refused"


@dataclass(frozen=True)
class Citation:
    """A passage that an answer cites."""

    n: int
    """Number in the answer, from 1 in the order of first use."""
    position: int
    """Position among the retrieved passages."""
    part: int = 0
    """Position of the part of the passage whose chunk has what is cited."""


class AnswerChecker:
    """Lets through the sentences that a single chunk supports, each with the citation that belongs to it.

    Dropped are sentences without enough support, unfinished ones, repetitions of the question or of an earlier
    sentence, sentences that point back at a dropped one, and those that share nothing with the question where
    others do.
    """

    def __init__(
        self,
        passages: Sequence[Passage],
        question: str,
        *,
        min_support: float,
    ) -> None:
        self._passages = passages
        self._question = question
        # Enough to compare the answer's sentences with each other, whatever their language.
        self._words = passages[0].words
        self._min_support = min_support
        self._stream = SentenceStream()
        self._pending_chars = 0
        self._seen: list[set[int]] = []
        self._kept = 0
        self._dropped_in_row = 0
        self._repeats = 0
        self._held: list[tuple[str, Support]] = []
        self._numbers: dict[tuple[int, int], int] = {}

    @property
    def citations(self) -> list[Citation]:
        """The passages cited so far, in the order of their numbers."""
        return [Citation(n, position, part) for (position, part), n in self._numbers.items()]

    @property
    def is_empty(self) -> bool:
        """Say whether no sentence has been let through yet."""
        return self._kept == 0

    @property
    def is_done(self) -> bool:
        """Say whether more of the model's text would add nothing: enough said, lost, or going in circles."""
        return (
            self._kept >= _MAX_SENTENCES
            or self._repeats > 0
            or self._dropped_in_row >= _MAX_DROPPED_IN_ROW
            or self._pending_chars > _MAX_EMPTY_CHARS
        )

    def feed(self, piece: str) -> list[str]:
        """Take a piece of the model's text; returns what the user may see of it."""
        sentences = self._stream.feed(piece)
        # Text without a single word (`[1] [2] [3] ...`) never becomes a sentence.
        has_words = bool(sentences) or bool(self._words.read(_MARKERS.sub("", piece)))
        self._pending_chars = 0 if has_words and not piece.strip(" []").isdigit() else self._pending_chars + len(piece)
        return [text for sentence in sentences for text in self._check(sentence)]

    def finish(self, *, was_cut: bool) -> list[str]:
        """End the text; returns what the user may still see.

        Args:
            was_cut: The model ran out of tokens, so a last sentence without a stop is not a whole one.
        """
        sentences, rest = self._stream.finish()
        if rest and not was_cut:
            sentences.append(rest)
        shown = [text for sentence in sentences if not self.is_done for text in self._check(sentence)]
        if self.is_empty:
            held, self._held = self._held, []
            shown += [self._show(text, support) for text, support in held]
        return shown

    def _check(self, raw: str) -> list[str]:
        sentence = clean_sentence(raw)
        terms = self._words.read(sentence)
        if len(terms) < _MIN_TERMS:
            return []
        if self._is_repeat(set(terms)):
            self._repeats += 1
            return []
        support = find_support(sentence, self._passages)
        if support is None or support.share < self._min_support or self._is_idle(sentence, support):
            self._dropped_in_row += 1
            return []
        self._seen.append(set(terms))
        self._dropped_in_row = 0
        words = self._passages[support.position].words
        asked = set(words.read(self._question))
        if asked and not asked & set(words.read(sentence)):
            # Kept back: shown only if the whole answer shares nothing with the question's words.
            self._held.append((sentence, support))
            return []
        return [self._show(sentence, support)]

    def _is_repeat(self, terms: set[int]) -> bool:
        return any(len(terms & earlier) >= _REPEAT_SHARE * len(terms) for earlier in self._seen)

    def _is_idle(self, sentence: str, support: Support) -> bool:
        """Say whether a sentence is a fragment, or repeats the question, in the language of its passage."""
        words = self._passages[support.position].words
        is_loose = self._dropped_in_row > 0 and _POINTS_BACK.match(sentence)
        if words.is_english and (is_loose or _BREAKS_OFF.search(sentence)):
            return True
        terms, asked = words.read(sentence), set(words.read(self._question))
        return sum(term in asked for term in terms) >= _ECHO_SHARE * len(terms)

    def _show(self, sentence: str, support: Support) -> str:
        number = self._numbers.setdefault((support.position, support.part), len(self._numbers) + 1)
        self._kept += 1
        text = cite(sentence[:1].upper() + sentence[1:], number)
        return text if self._kept == 1 else f" {text}"


def clean_sentence(raw: str) -> str:
    """Take a sentence without its list marker, citation markers, marks of omission and stray spaces."""
    text = _LEAD.sub("", _MARKERS.sub("", f" {raw}").strip())
    words = [word for word in text.replace("**", "").split() if word != OMITTED]
    return _SPACE_BEFORE_STOP.sub(r"\1", " ".join(words))


def cite(sentence: str, number: int) -> str:
    """Put a citation marker before the sentence's stop; a missing stop is added."""
    stop = _STOP.search(sentence)
    body, end = (sentence[: stop.start()], stop.group()) if stop else (sentence, ".")
    return f"{body.rstrip()} [{number}]{end}"


def quote_passages(passages: Sequence[Passage], question: str) -> tuple[str, list[Citation]]:
    """Answer with the passages' own sentences that match the question best.

    Returns:
        The quotations, each with its marker, and the passages they come from. A passage is always quoted,
        with its hit's first sentence where none shares a word with the question.
    """
    ranked = best_sentences(passages, question) or [(1.0, 0, passages[0].first)]
    least = _QUOTE_SHARE * ranked[0][0]
    chosen = sorted((p, s) for score, p, s in ranked[:_MAX_QUOTES] if score >= least)
    numbers: dict[tuple[int, int], int] = {}
    quotes: list[str] = []
    for p, s in chosen:
        passage = passages[p]
        text, part = passage.hit.text, passage.own
        if passage.sentences:
            text, part = passage.sentences[s].text, passage.sentences[s].parts[0]
        number = numbers.setdefault((p, part), len(numbers) + 1)
        quotes.append(f'"{_MARKERS.sub("", " ".join(text.split())).rstrip(" .")}" [{number}].')
    return " ".join(quotes), [Citation(n, position, part) for (position, part), n in numbers.items()]
