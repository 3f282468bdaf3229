"""Counting a model's own tokens without loading the model."""

from functools import lru_cache
from pathlib import Path

from tokenizers import Tokenizer

from forebay.errors import ModelError

__all__ = ["TokenCounter"]


class TokenCounter:
    """Counts tokens, special ones left out, with a model folder's `tokenizer.json`."""

    def __init__(self, folder: Path) -> None:
        path = folder / "tokenizer.json"
        if not path.exists():
            raise ModelError(f"the model folder {folder} has no tokenizer.json; choose a model with a fast tokenizer.")
        self._tokenizer: Tokenizer = Tokenizer.from_file(str(path))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def __call__(self, text: str) -> int:
        """Count the tokens of `text`."""
        # The batch call is the one that can leave out offsets.
        (encoding,) = self._tokenizer.encode_batch_fast([text], add_special_tokens=False)
        return len(encoding)

    @classmethod
    @lru_cache(maxsize=4)
    def of(cls, folder: Path) -> "TokenCounter":
        """Load a folder's tokenizer once per process."""
        return cls(folder)
