"""Late chunking: the model reads the chunks of a window together, and each gets the mean of its own tokens' vectors.

So a chunk's words have seen what stands around it. Source: Günther et al. 2024, arXiv:2409.04701. A chunk brings its
title and headings with it (`embedded_text`), as it does where it is embedded alone: without them it is found less
(docs/embedding.md).
"""

from collections import deque
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from forebay.embedding.batching import token_budget_batches
from forebay.embedding.late_engine import LateEngine, PartBatch
from forebay.embedding.sentence_transformer import encodable, engine_of, spec_folder
from forebay.embedding.spec import EmbeddingSpec
from forebay.embedding.tokens import loaded_tokenizer
from forebay.errors import EmbeddingError

__all__ = ["WindowEmbedder", "load_window_embedder"]


class WindowEmbedder:
    """Embeds windows of chunks; one instance per process, not safe for concurrent calls."""

    def __init__(
        self, spec: EmbeddingSpec, folder: Path, engine: LateEngine, *, batch_tokens: int | None = None
    ) -> None:
        self._spec = spec
        self._engine = engine
        self._tokenizer: Tokenizer = loaded_tokenizer(folder)
        self._begin, self._end = _special_tokens(self._tokenizer)
        self._batch_tokens = batch_tokens or engine.batch_tokens

    def embed_windows(self, windows: Sequence[Sequence[str]]) -> list[NDArray[np.float32]]:
        """Embed every text of every window among the others; beyond the model's longest input, a window is cut.

        Returns:
            (n_texts, dim) float32 for each window, rows L2-normalised.

        Raises:
            EmbeddingError: a vector is not finite or has no length, or nothing was left of a text; its `broken` are
                positions into `windows`.
        """
        read = [self._read(window) for window in windows]
        found: list[NDArray[np.float32]] = [np.zeros((0, self._spec.dim), np.float32)] * len(windows)
        under_way: deque[list[int]] = deque()
        for sums in self._engine.sums_of_parts(self._batches(read, under_way)):
            for row, position in enumerate(under_way.popleft()):
                found[position] = sums[row, : len(windows[position])]
        norms = [np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in found]
        broken = [
            position for position, lengths in enumerate(norms) if not ((lengths > 0) & np.isfinite(lengths)).all()
        ]
        if broken:
            raise EmbeddingError(
                f"{len(broken)} of {len(windows)} windows have texts without a vector (not finite, or zero), such as "
                f"{windows[broken[0]][0][:80]!r}. The model {self._spec.model!r} is broken or was changed.",
                broken,
            )
        return [vectors / lengths for vectors, lengths in zip(found, norms, strict=True)]

    def _read(self, window: Sequence[str]) -> tuple[list[int], list[int]]:
        """Give the ids of a window's tokens, special ones included, and where its texts begin and the last one ends."""
        texts = [encodable(text) for text in window]
        parts = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
        room = self._spec.max_tokens - len(self._end)
        ids = [*self._begin, *(token for part in parts for token in part)][:room]
        edges = accumulate((len(part) for part in parts), initial=len(self._begin))
        return [*ids, *self._end], [min(edge, room) for edge in edges]

    def _batches(self, windows: list[tuple[list[int], list[int]]], under_way: deque[list[int]]) -> Iterator[PartBatch]:
        """Give padded batches, and append to `under_way` which windows each holds."""
        for batch in token_budget_batches([len(ids) for ids, _ in windows], self._batch_tokens):
            under_way.append(batch)
            yield _padded([windows[position] for position in batch])


def _padded(windows: list[tuple[list[int], list[int]]]) -> PartBatch:
    longest = max(len(ids) for ids, _ in windows)
    most_parts = max(len(edges) - 1 for _, edges in windows)
    tokens = np.zeros((len(windows), longest), dtype=np.int64)
    is_token = np.zeros((len(windows), longest), dtype=np.int64)
    is_of_part = np.zeros((len(windows), most_parts, longest), dtype=np.float32)
    for row, (ids, edges) in enumerate(windows):
        tokens[row, : len(ids)] = ids
        is_token[row, : len(ids)] = 1
        for part, (start, end) in enumerate(pairwise(edges)):
            is_of_part[row, part, start:end] = 1
    return tokens, is_token, is_of_part


def _special_tokens(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Give the ids that the tokenizer puts in front of a text and behind it."""
    encoding = tokenizer.encode("a")
    own = [place for place, is_special in enumerate(encoding.special_tokens_mask) if not is_special]
    return encoding.ids[: own[0]], encoding.ids[own[-1] + 1 :]


@lru_cache(maxsize=2)
def load_window_embedder(
    spec: EmbeddingSpec, models: Path, batch_tokens: int | None = None, threads: int | None = None
) -> WindowEmbedder:
    """Load the model of a spec with late chunking, once per process; raises what `load_embedder` raises."""
    folder = spec_folder(spec, models)
    engine = engine_of(spec, folder, models, threads=threads)
    assert isinstance(engine, LateEngine)
    return WindowEmbedder(spec, folder, engine, batch_tokens=batch_tokens)
