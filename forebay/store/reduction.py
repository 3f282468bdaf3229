"""Smaller vectors: a linear map of embeddings to fewer dimensions, either fitted to a corpus (PCA) or cutting them off.

An index holds the reduced vectors, made unit vectors again, and questions are reduced in the same way; the embeddings
table keeps the whole ones. So the map lies in the folder of every shard that was built with it.
"""

import os
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forebay.documents import content_hash
from forebay.embedding.spec import EmbeddingSpec
from forebay.errors import ConfigurationError, IndexBuildError
from forebay.settings import IndexSettings, PathSettings

__all__ = ["Reduction", "configured_reduction", "fitted_file", "kept_projection"]

_BLOCK_ROWS = 4096


@dataclass(frozen=True)
class Reduction:
    """A map to fewer dimensions."""

    axes: NDArray[np.float32]
    """(dim, dimensions), orthonormal columns."""
    explained: float
    """Share of the vectors' squared length that it keeps, where it was fitted; 0 where it wasn't."""
    rows: int
    """Vectors of the corpus when it was fitted; 0 where it wasn't."""

    @classmethod
    def fit(cls, vectors: NDArray[np.float32], dimensions: int, rows: int) -> "Reduction":
        """Find the axes along which vectors are longest: principal components about the origin.

        About the origin, not about the mean, because that is where cosines are measured; so no vector becomes zero.
        Source: Jolliffe, Principal Component Analysis, 2nd ed. 2002, 14.2.3 (uncentred components).

        Args:
            vectors: (n, dim) sample, n >= dimensions.
            dimensions: Axes to keep.
            rows: Vectors of the corpus.

        Raises:
            ConfigurationError: there are too few vectors, or as many dimensions as the vectors have.
        """
        n, dim = vectors.shape
        _require_fewer(dimensions, dim)
        if n < dimensions:
            raise ConfigurationError(
                f"{n} vectors are too few to fit {dimensions} dimensions to; set FOREBAY_INDEX_DIMENSIONS to less, or "
                "FOREBAY_INDEX_REDUCTION to none."
            )
        moments = np.zeros((dim, dim))
        for start in range(0, n, _BLOCK_ROWS):
            wide = vectors[start : start + _BLOCK_ROWS].astype(np.float64)
            moments += wide.T @ wide
        lengths, axes = np.linalg.eigh(moments)
        longest = axes[:, ::-1][:, :dimensions]
        # An axis may point either way; this way every machine gets the same.
        signs = np.sign(longest[np.abs(longest).argmax(axis=0), np.arange(dimensions)])
        explained = float(lengths[::-1][:dimensions].sum() / lengths.sum())
        return cls((longest * signs).astype(np.float32), explained, rows)

    @classmethod
    def truncation(cls, dim: int, dimensions: int) -> "Reduction":
        """Keep the first numbers of a vector, for models that were trained for it.

        Source: Kusupati et al., Matryoshka Representation Learning, NeurIPS 2022.
        """
        _require_fewer(dimensions, dim)
        return cls(np.eye(dim, dimensions, dtype=np.float32), 0.0, 0)

    def __call__(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Reduce vectors.

        Args:
            vectors: (n, dim) unit rows.

        Returns:
            (n, dimensions) unit rows.

        Raises:
            IndexBuildError: they have another dimension, or nothing is left of a vector.
        """
        dim, dimensions = self.axes.shape
        if vectors.shape[1] != dim:
            raise IndexBuildError(
                f"vectors have {vectors.shape[1]} dimensions, the projection reduces {dim} to {dimensions}; it belongs "
                "to another model."
            )
        reduced = vectors @ self.axes
        lengths = np.linalg.norm(reduced, axis=1, keepdims=True)
        if not lengths.all():
            raise IndexBuildError("a vector has no length in the reduced dimensions; fit the asset `projection` again.")
        return reduced / lengths

    @cached_property
    def fingerprint(self) -> str:
        """12 hexadecimal digits that name this map."""
        return content_hash(str(self.axes.shape), self.axes.tobytes().hex())[:12]

    def save(self, path: Path) -> None:
        """Write a file, at once."""
        path.parent.mkdir(parents=True, exist_ok=True)
        staging = path.with_name(f".{path.stem}.{os.getpid()}.npz")
        np.savez(staging, axes=self.axes, explained=self.explained, rows=self.rows)
        os.replace(staging, path)

    @classmethod
    def load(cls, path: Path) -> "Reduction":
        """Read a file.

        Raises:
            IndexBuildError: it is not there, or damaged.
        """
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as held:
                found = cls(held["axes"], float(held["explained"]), int(held["rows"]))
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as exc:
            raise IndexBuildError(f"{path} is not a readable projection.") from exc
        if found.axes.dtype != np.float32 or found.axes.ndim != 2 or not np.isfinite(found.axes).all():
            raise IndexBuildError(f"{path} is not a readable projection.")
        return found


def fitted_file(paths: PathSettings, spec: EmbeddingSpec, dimensions: int) -> Path:
    """Name the file that the projection of a corpus is kept in."""
    return paths.data.absolute() / "projections" / f"pca-{spec.fingerprint}-{dimensions}.npz"


def kept_projection(paths: PathSettings, spec: EmbeddingSpec, dimensions: int) -> Reduction | None:
    """Read the projection of a corpus; None where none has been fitted.

    Raises:
        IndexBuildError: its file is damaged, or holds another one.
    """
    path = fitted_file(paths, spec, dimensions)
    if not path.exists():
        return None
    try:
        found = Reduction.load(path)
        if found.axes.shape != (spec.dim, dimensions):
            raise IndexBuildError(f"{path} reduces {found.axes.shape[0]} dimensions to {found.axes.shape[1]}.")
    except IndexBuildError as exc:
        raise IndexBuildError(
            f"{exc} Materialize the asset `projection` with `refit: true`; every shard is then built anew."
        ) from exc
    return found


def configured_reduction(paths: PathSettings, spec: EmbeddingSpec, settings: IndexSettings) -> Reduction | None:
    """Give the reduction that the settings name; None where vectors stay whole.

    Raises:
        IndexBuildError: its projection has not been fitted, or is damaged.
        ConfigurationError: the vectors have no more dimensions than wanted.
    """
    if settings.reduction == "none" or settings.dimensions is None:
        return None
    if settings.reduction == "truncate":
        return Reduction.truncation(spec.dim, settings.dimensions)
    found = kept_projection(paths, spec, settings.dimensions)
    if found is None:
        raise IndexBuildError("the projection has not been fitted yet; materialize the asset `projection`.")
    return found


def _require_fewer(dimensions: int, dim: int) -> None:
    if dimensions >= dim:
        raise ConfigurationError(
            f"FOREBAY_INDEX_DIMENSIONS is {dimensions}, the model's vectors have {dim}; set it to fewer, or "
            "FOREBAY_INDEX_REDUCTION to none."
        )
