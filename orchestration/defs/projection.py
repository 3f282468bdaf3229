"""The projection that makes the index's vectors smaller, where the settings ask for one."""

import dagster as dg
import numpy as np
from numpy.typing import NDArray

from forebay.embedding.choice import resolve_spec
from forebay.embedding.spec import EmbeddingSpec
from forebay.errors import DataError
from forebay.settings import EmbeddingSettings, IndexSettings, PathSettings
from forebay.store.reduction import Reduction, fitted_file
from forebay.tables import embedding_table
from orchestration.defs.embeddings import embeddings
from quality.vectors import recall_at_k

__all__ = ["projection"]

_SAMPLE_ROWS = 100_000
_QUESTIONS = 200
_GROWTH = 4
_HEX_DIGITS = 8


class ProjectionConfig(dg.Config):
    """Options of a run."""

    refit: bool = False
    """Fit again although the kept projection still counts; every shard is then built anew."""


@dg.asset(
    deps=[embeddings],
    kinds={"numpy"},
    group_name="release",
)
def projection(context: dg.AssetExecutionContext, config: ProjectionConfig) -> dg.MaterializeResult:
    """Axes that the index's vectors are reduced to (`FOREBAY_INDEX_REDUCTION`).

    PCA is fitted to a sample of at most 100,000 vectors and then kept, for another one means that every shard is built
    anew: until the model or the dimensions change, the corpus has four times as many vectors, or `refit` is set.
    """
    paths, settings = PathSettings(), IndexSettings()
    if settings.reduction == "none" or settings.dimensions is None:
        return dg.MaterializeResult(metadata={"reduction": "none"})
    spec = resolve_spec(EmbeddingSettings(), paths)
    rows = embedding_table(paths.tables, spec).published_rows()
    vectors = _sample(spec, paths, rows)
    if settings.reduction == "truncate":
        found, is_new = Reduction.truncation(spec.dim, settings.dimensions), False
        context.log.warning("truncated vectors are only good where the model was trained for it; see recall_at_10.")
    else:
        kept = fitted_file(paths, spec, settings.dimensions)
        found = Reduction.load(kept) if kept.exists() and not config.refit else None
        is_new = found is None or rows > _GROWTH * found.rows
        if found is None or is_new:
            found = Reduction.fit(vectors, settings.dimensions, rows)
            found.save(kept)
    return dg.MaterializeResult(
        metadata={
            "reduction": settings.reduction,
            "dimensions": settings.dimensions,
            "fingerprint": found.fingerprint,
            "is_new": is_new,
            "vectors": rows,
            "sampled": len(vectors),
            "recall_at_10": round(_recall(vectors, found), 4),
            **({"explained_variance": round(found.explained, 4)} if found.rows else {}),
        }
    )


def _sample(spec: EmbeddingSpec, paths: PathSettings, rows: int) -> NDArray[np.float32]:
    """Read the vectors whose texts have the lowest hashes: chosen at random, but always the same."""
    table = embedding_table(paths.tables, spec).published()
    if table is None or not rows:
        raise DataError("there are no published embeddings yet; materialize the asset `embeddings` first.")
    share = min(1.0, _SAMPLE_ROWS / rows)
    highest = f"{int(share * (16**_HEX_DIGITS - 1)):0{_HEX_DIGITS}x}"
    condition = None if share == 1.0 else f"text_hash <= '{highest}'"
    column = table.to_table(columns=["vector"], filter=condition).column("vector").combine_chunks()
    return np.asarray(column.flatten(), np.float32).reshape(-1, spec.dim)


def _recall(vectors: NDArray[np.float32], reduction: Reduction) -> float:
    """Compare neighbours before and after, with some of the vectors as questions to all others."""
    questions, others = vectors[:_QUESTIONS], vectors[_QUESTIONS:]
    if not len(others):
        questions, others = vectors, vectors
    return recall_at_k((questions, others), (reduction(questions), reduction(others)))
