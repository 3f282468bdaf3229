"""Splitting text into sentences, also while it is still being generated."""

import re

__all__ = ["SentenceStream", "split_sentences"]

_ABBREVIATIONS = frozenset(
    """al approx art capt cf ch co corp dept dr ed eds e.g eg eq eqs eqn est etc fig figs i.e ie inc jr ltd
    max min mr mrs ms no nos op p pp prof ref refs resp sec sr st u.k u.s vol vols vs""".split()  # noqa: SIM905
)
_ENDING = re.compile(r"[.!?]+")
# What may follow the stop and still belongs to the sentence: quotes, brackets, [1] markers.
_TRAILER = re.compile(r"[\"'\u201d\u2019)\]]*(?:[ \t]*\[\d{1,3}(?:\s*,\s*\d{1,3})*\])*")
_OPEN_MARKER = re.compile(r"[ \t]*\[[\d, \t]{0,12}\Z")
_LAST_WORD = re.compile(r"[^\s(\[\"']*\Z")


def split_sentences(text: str) -> list[str]:
    """Split a finished text.

    Knows abbreviations, initials, decimals and the spaced stops of lower-case corpora (`a wing . the
    flow`); a line break ends a sentence only where a blank line or a list item follows.

    Returns:
        The sentences without surrounding white space, in order; citation markers stay with theirs.
    """
    sentences, rest = _split(text, is_final=True)
    return [*sentences, rest] if rest else sentences


class SentenceStream:
    """Gives out each sentence of a growing text as soon as it is certainly complete."""

    def __init__(self) -> None:
        self._pending = ""

    def feed(self, piece: str) -> list[str]:
        """Add a piece of text; returns the sentences that it completed."""
        sentences, self._pending = _split(self._pending + piece, is_final=False)
        return sentences

    def finish(self) -> tuple[list[str], str]:
        """End the text.

        Returns:
            The sentences that end with a stop, and what is left without one (empty if nothing is).
        """
        sentences, rest = _split(self._pending, is_final=True)
        self._pending = ""
        return sentences, rest


def _split(text: str, *, is_final: bool) -> tuple[list[str], str]:
    sentences: list[str] = []
    start = 0
    for end in _boundaries(text, is_final=is_final):
        sentence = text[start:end].strip()
        if sentence:
            sentences.append(sentence)
        start = end
    rest = text[start:]
    return sentences, rest.strip() if is_final else rest


def _boundaries(text: str, *, is_final: bool) -> list[int]:
    ends = [match.end() for match in re.finditer(r"\n\s*(?=\n|[-*•]\s|\d{1,2}[.)]\s)", text)]
    for match in _ENDING.finditer(text):
        trailer = _TRAILER.match(text, match.end())
        end = trailer.end() if trailer else match.end()
        follows = text[end:]
        if follows.strip() == "" or _OPEN_MARKER.match(follows):
            # The next word isn't here yet: it decides, unless the text is over.
            if is_final:
                ends.append(end)
            continue
        if follows[0].isspace() and _is_stop(text, match):
            ends.append(end)
    return sorted(ends)


def _is_stop(text: str, match: re.Match[str]) -> bool:
    if match.group() != ".":
        return True
    before = text[: match.start()]
    if before[-1:].isspace() or not before:
        return bool(before)
    word_match = _LAST_WORD.search(before)
    word = word_match.group() if word_match else ""
    if len(word) == 1 and word.isalpha():
        return False
    if word.lower() in _ABBREVIATIONS:
        return False
    # A list number (`1. first`) is no sentence.
    previous = before[: -len(word)].rstrip(" ")[-1:]
    return not (word.isdigit() and len(word) <= 2 and previous in {"", "\n", ".", "!", "?", ":"})
