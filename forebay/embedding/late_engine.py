"""The late engine: the torch engine over a window of chunks at once, whose tokens are then pooled chunk by chunk."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forebay.embedding.torch_engine import TorchEngine
from forebay.errors import ModelError

__all__ = ["LateEngine", "PartBatch", "require_mean_pooling"]

PartBatch = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]
"""Ids and marks of tokens as in `TokenBatch`; and, (n_windows, most_parts, longest), 1 where a token is the part's."""

_PLAIN_MODULES = {"Transformer", "Pooling", "Normalize"}
_MODE = "pooling_mode"


def require_mean_pooling(folder: Path) -> None:
    """Refuse a model whose vectors are not the mean of its tokens' vectors.

    Raises:
        ModelError: it pools otherwise, or has layers after that.
    """
    try:
        modules = {
            module["type"].rpartition(".")[2]: module["path"]
            for module in json.loads((folder / "modules.json").read_text("utf-8"))
        }
        pooling = json.loads((folder / modules.get("Pooling", "") / "config.json").read_text("utf-8"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise ModelError(
            f"{folder} doesn't say how it pools: modules.json or the pooling's config is missing."
        ) from exc
    # Older files say it mode by mode.
    modes = (
        [pooling[_MODE]] if _MODE in pooling else [name for name in pooling if name.startswith(_MODE) and pooling[name]]
    )
    if modules.keys() - _PLAIN_MODULES or modes not in (["mean"], [f"{_MODE}_mean_tokens"]):
        raise ModelError(
            f"late chunking needs a model that takes the mean of its tokens and nothing after it; {folder} is made of "
            f"{', '.join(modules)} and pools by {', '.join(map(str, modes)) or 'nothing'}. Choose another model, or "
            "another engine than 'late'."
        )


class LateEngine(TorchEngine):
    """Runs the model with torch, for questions as `TorchEngine` does, for windows with a vector for each part."""

    def sums_of_parts(self, batches: Iterable[PartBatch]) -> Iterator[NDArray[np.float32]]:
        """Run batches of windows one after another, and add up the vectors of each part's tokens.

        Yields:
            (n_windows, most_parts, dim) float32 for each batch in turn; the mean's direction, which is what counts.
        """
        return self._fetched(
            self._torch.bmm(self._sent(is_of_part), self._output(tokens, is_token)["token_embeddings"].float())
            for tokens, is_token, is_of_part in batches
        )
