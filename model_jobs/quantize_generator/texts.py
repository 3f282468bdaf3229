"""A corpus's texts, and windows of tokens cut from them."""

import json
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

__all__ = ["read_texts", "token_windows"]

_TEXT_SUFFIXES = {".txt", ".md"}


def read_texts(source: Path, limit: int) -> list[str]:
    """Read the first texts of a JSONL file (field `text`), or of the .jsonl, .txt and .md files of a folder.

    Raises:
        ValueError: there is none.
    """
    texts = list(islice(_texts(source), limit))
    if not texts:
        raise ValueError(f"{source} holds no text (.jsonl with a field `text`, .txt or .md) to calibrate with.")
    return texts


def _texts(source: Path) -> Iterator[str]:
    paths = [source] if source.is_file() else sorted(path for path in source.rglob("*") if path.is_file())
    for path in paths:
        if path.suffix == ".jsonl":
            with path.open(encoding="utf-8", errors="replace") as stream:
                yield from (text for text in map(_text_of_row, stream) if text)
        elif path.suffix in _TEXT_SUFFIXES:
            yield path.read_text("utf-8", "replace")


def _text_of_row(line: str) -> str:
    try:
        row = json.loads(line)
    except ValueError:
        return ""
    text = row.get("text") if isinstance(row, dict) else None
    return text if isinstance(text, str) else ""


def token_windows(
    texts: list[str], tokenize: Callable[[str], list[int]], *, windows: int, window_tokens: int
) -> list[list[int]]:
    """Join texts and cut them into windows, shorter texts beside longer ones.

    Returns:
        At most `windows` lists of exactly `window_tokens` token ids.

    Raises:
        ValueError: the texts don't fill one window.
    """
    tokens: list[int] = []
    for text in texts:
        if len(tokens) >= windows * window_tokens:
            break
        tokens.extend(tokenize(text + "\n\n"))
    starts = range(0, min(len(tokens) - window_tokens, (windows - 1) * window_tokens) + 1, window_tokens)
    if not starts:
        raise ValueError(f"{len(tokens)} tokens of text are too few to quantize with; {window_tokens} are needed.")
    return [tokens[start : start + window_tokens] for start in starts]
