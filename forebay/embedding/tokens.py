"""Counting a model's own tokens without loading the model."""

from functools import lru_cache
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from forebay.errors import ModelError

__all__ = ["TokenCounter", "loaded_tokenizer"]

_MAX_KEPT_WORDS = 65_536
_MAX_KEPT_CHARS = 64


def loaded_tokenizer(folder: Path) -> Tokenizer:
    """Load a model folder's `tokenizer.json`; it neither cuts nor pads.

    Raises:
        ModelError: there is none.
    """
    path = folder / "tokenizer.json"
    if not path.exists():
        raise ModelError(f"the model folder {folder} has no tokenizer.json; choose a model with a fast tokenizer.")
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


class TokenCounter:
    """Counts tokens, special ones left out, with a model folder's `tokenizer.json`.

    Where the tokenizer is of BERT's kind, the counts of words are kept and added up: the same number, much sooner.
    """

    def __init__(self, folder: Path) -> None:
        self._tokenizer = loaded_tokenizer(folder)
        self._words = _WordCounts(self._tokenizer) if _is_divided_by_blanks(self._tokenizer) else None

    def __call__(self, text: str) -> int:
        """Count the tokens of `text`."""
        if self._words is None:
            return _count(self._tokenizer, text)
        # Not str.split(): it divides at characters too that BERT drops, so that the words around them become one.
        words = text.replace("\n", " ").replace("\t", " ").replace("\r", " ").split(" ")
        return sum(map(self._words.__getitem__, words))

    @classmethod
    @lru_cache(maxsize=4)
    def of(cls, folder: Path) -> "TokenCounter":
        """Load a folder's tokenizer once per process."""
        return cls(folder)


class _WordCounts(dict[str, int]):
    """Counts the tokens of words; those of the words that were met last are kept."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self._tokenizer = tokenizer

    def __missing__(self, word: str) -> int:
        n_tokens = _count(self._tokenizer, word)
        if len(word) <= _MAX_KEPT_CHARS:
            if len(self) >= _MAX_KEPT_WORDS:
                self.clear()
            self[word] = n_tokens
        return n_tokens


def _count(tokenizer: Tokenizer, text: str) -> int:
    # The batch call is the one that can leave out offsets.
    (encoding,) = tokenizer.encode_batch_fast([text], add_special_tokens=False)
    return len(encoding)


def _is_divided_by_blanks(tokenizer: Tokenizer) -> bool:
    """Tell whether no token depends on what stands beyond a space, a tab or the end of a line."""
    if not isinstance(tokenizer.pre_tokenizer, BertPreTokenizer):
        return False
    if not isinstance(tokenizer.normalizer, BertNormalizer | None):
        return False
    # Added tokens are looked for in the text as it is, or after normalisation, which may put blanks into them.
    added = tokenizer.get_added_tokens_decoder().values()
    return all(not token.normalized and token.content.split() == [token.content] for token in added)
