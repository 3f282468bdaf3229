"""What the wording of a question says about how to search for it: identifiers and quoted phrases are about words."""

import re
import unicodedata
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

__all__ = ["MIN_CANDIDATES", "NO_RULES", "QueryRules", "candidates", "holding_phrases", "read_rules"]

MIN_CANDIDATES = 40
"""Candidates of each leg: enough that fusion sees past the wanted hits."""
# Of a question with a quoted phrase, whose words may be common: most candidates are dropped for lacking it.
_PHRASE_CANDIDATES = 200
# A question of so many words is about its identifier, a longer one about more (`make bench-quality` has the figures).
_SHORT_WORDS = 8
_SHORT_WEIGHT = 5.0
_LONG_WEIGHT = 3.0
_MAX_PHRASES = 8
# The mark that opens a quotation and the one that closes it; after a word it is inches, not a quotation.
_QUOTED = re.compile(r'(?<!\w)(?:"(?!\s)([^"]{1,300})(?<!\s)"|“([^”]{1,300})”|„([^“”]{1,300})[“”]|«([^»]{1,300})»)')
_EDGES = ".,;:!?()[]{}<>\"'`“”„«»"
_ORDINAL = re.compile(r"\d+(st|nd|rd|th|d)", re.IGNORECASE)
_NUMBER = re.compile(r"[\d.,]+")
_MIN_DIGITS = 3
# `config.yaml`, `www.example.com`; not `i.e` and `U.S`.
_FILE_NAME = re.compile(r"[\w-]{2,}(\.[\w-]+)*\.[a-z][a-z0-9]{1,4}")
_UNDERSCORE_WITHIN = re.compile(r"[^\W_]_+[^\W_]")

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class QueryRules:
    """How a question wants to be searched for."""

    phrases: tuple[str, ...] = ()
    """Quoted phrases, as `holding_phrases` compares them; a hit has to hold them."""
    bm25_weight: float = 1.0
    """Weight of the BM25 leg in the fusion; the dense leg's is 1."""
    allows_feedback: bool = True
    """Whether the question may be moved towards its first hits: of an identifier they are about many other things."""


NO_RULES = QueryRules()
"""Nothing special about the wording."""


def read_rules(question: str) -> QueryRules:
    """Read the rules off a question's wording.

    Part numbers, error codes, file names and numbers of three digits mean little to an embedding model, and BM25 finds
    them exactly: a question with one of them trusts it more, and a short one isn't moved towards its first hits.
    """
    phrases = (_normal(next(filter(None, match))) for match in _QUOTED.findall(question))
    kept = tuple(dict.fromkeys(phrase for phrase in phrases if re.search(r"\w", phrase)))[:_MAX_PHRASES]
    words = question.split()
    if not any(_is_identifier(word.strip(_EDGES)) for word in words):
        return QueryRules(kept)
    is_short = len(words) <= _SHORT_WORDS
    return QueryRules(kept, _SHORT_WEIGHT if is_short else _LONG_WEIGHT, allows_feedback=not is_short)


def candidates(top_k: int, rules: QueryRules) -> int:
    """Say how many candidates each leg of a search has to give.

    Args:
        top_k: Hits wanted.
        rules: What the question's wording asks for.
    """
    return max(top_k, _PHRASE_CANDIDATES if rules.phrases else MIN_CANDIDATES)


def holding_phrases(texts: Mapping[Key, str], phrases: Sequence[str]) -> list[Key]:
    """Choose the passages that hold every phrase, whole words only; a phrase that none of them holds is passed over.

    Args:
        texts: Text of each passage by its key.
        phrases: As `QueryRules` has them.

    Returns:
        Keys in the order of `texts`.
    """
    left = {key: _normal(text) for key, text in texts.items()}
    for phrase in phrases:
        pattern = re.compile(rf"(?<!\w){re.escape(phrase)}(?!\w)")
        left = {key: text for key, text in left.items() if pattern.search(text)} or left
    return list(left)


def _is_identifier(token: str) -> bool:
    digits = sum(character.isdecimal() for character in token)
    if _NUMBER.fullmatch(token):
        return digits >= _MIN_DIGITS
    has_name_mark = _FILE_NAME.fullmatch(token) or _UNDERSCORE_WITHIN.search(token)
    return bool(has_name_mark) or (digits > 0 and not _ORDINAL.fullmatch(token))


def _normal(text: str) -> str:
    """Give a text as it is compared: small letters, single spaces, one form of every character."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
