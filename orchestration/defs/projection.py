"""The projection that makes the index's vectors smaller, where the settings ask for one."""

import dagster as dg
import numpy as np
from numpy.typing import NDArray

from forebay.embedding.choice import resolve_spec
from forebay.embedding.spec import EmbeddingSpec
from forebay.errors import DataError
from forebay.settings import EmbeddingSettings, IndexSettings, PathSettings
from forebay.store.reduction import Reduction, fitted_file, kept_projection
from forebay.tables import embedding_table
from orchestration.defs.embeddings import embeddings
from quality.vectors import recall_at_k

__all__ = ["projection"]

_FITTED_ROWS = 100_000
_MEASURED_ROWS = 20_000
_QUESTIONS = 200
_LEAST_ROWS_PER_QUESTION = 10
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

    PCA is fitted to a sample of about 100,000 vectors and then kept, for another one means that every shard is built
    anew: until the model or the dimensions change, the corpus has four times as many vectors, or `refit` is set.
    """
    paths, settings = PathSettings(), IndexSettings()
    if settings.reduction == "none" or settings.dimensions is None:
        return dg.MaterializeResult(metadata={"reduction": "none"})
    spec = resolve_spec(EmbeddingSettings(), paths)
    rows = embedding_table(paths.tables, spec).published_rows()
    fitting: dict[str, float | int | bool] = {}
    if settings.reduction == "truncate":
        found = Reduction.truncation(spec.dim, settings.dimensions)
        context.log.warning("truncated vectors are only good where the model was trained for it; see recall_at_10.")
    else:
        kept = None if config.refit else kept_projection(paths, spec, settings.dimensions)
        is_new = kept is None or rows > _GROWTH * kept.rows
        found = _fit(spec, paths, rows, settings.dimensions) if kept is None or is_new else kept
        fitting = {
            "is_new": is_new,
            "explained_variance": round(found.explained, 4),
            "fitted_at_vectors": found.rows,
            "kept_until_vectors": _GROWTH * found.rows,
        }
    questions, others = _sample(spec, paths, rows, _MEASURED_ROWS)
    measured: dict[str, float] = {"recall_questions": len(questions), "recall_vectors": len(others)}
    if len(questions):
        recall = recall_at_k((questions, others), (found(questions), found(others)))
        measured["recall_at_10"] = round(recall, 4)
    return dg.MaterializeResult(
        metadata={
            "reduction": settings.reduction,
            "dimensions": settings.dimensions,
            "fingerprint": found.fingerprint,
            "vectors": rows,
            **fitting,
            **measured,
        }
    )


def _fit(spec: EmbeddingSpec, paths: PathSettings, rows: int, dimensions: int) -> Reduction:
    _, vectors = _sample(spec, paths, rows, _FITTED_ROWS)
    found = Reduction.fit(vectors, dimensions, rows)
    found.save(fitted_file(paths, spec, dimensions))
    return found


def _sample(
    spec: EmbeddingSpec, paths: PathSettings, rows: int, wanted: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Read about `wanted` vectors, those whose texts have the lowest hashes: chosen at random, but always the same.

    Returns:
        The first of them, to ask with, which nothing is ever fitted to, none where there are few; and the others.
    """
    table = embedding_table(paths.tables, spec).published()
    if table is None or not rows:
        raise DataError("there are no published embeddings yet; materialize the asset `embeddings` first.")
    share = min(1.0, wanted / rows)
    highest = f"{int(share * (16**_HEX_DIGITS - 1)):0{_HEX_DIGITS}x}"
    condition = None if share == 1.0 else f"text_hash <= '{highest}'"
    # In the order of the table, a fit after a compaction would differ in its last bits.
    found = table.to_table(columns=["text_hash", "vector"], filter=condition).sort_by("text_hash")
    column = found.column("vector").combine_chunks()
    vectors = np.asarray(column.flatten(), np.float32).reshape(-1, spec.dim)
    n_questions = min(_QUESTIONS, len(vectors) // _LEAST_ROWS_PER_QUESTION)
    return vectors[:n_questions], vectors[n_questions:]
