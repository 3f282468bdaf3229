"""The feedback round of a search: its candidates, ordered by the question moved towards the best of them."""

from collections.abc import Mapping, Sequence
from typing import Any, cast
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from qdrant_edge import (
    EdgeShard,
    Filter,
    HasIdCondition,
    QuantizationSearchParams,
    Query,
    QueryBatchRequest,
    QueryRequest,
    SearchParams,
    SparseVector,
)

from forebay.store.bm25 import DocumentFrequencies
from forebay.store.feedback import FEEDBACK_HITS, expanded_terms, moved_vector
from forebay.store.qdrant_build import DENSE, SPARSE, terms_of
from forebay.store.qdrant_hits import records_of
from forebay.store.qdrant_legs import Legs

__all__ = ["feedback_legs"]

_EXACT = SearchParams(exact=True, quantization=QuantizationSearchParams(ignore=True))


def feedback_legs(
    shard: EdgeShard,
    frequencies: DocumentFrequencies,
    vector: NDArray[np.float32],
    terms: SparseVector,
    keys: Sequence[UUID],
) -> Legs:
    """Score candidates by the moved question.

    The index does it, for a vector costs more as a Python list than its comparison there: only those that the question
    is moved towards are read.

    Args:
        shard: Holds the release.
        frequencies: Document frequencies of the release.
        vector: (dim,) float32, of the question.
        terms: The question's terms, multiplied by their inverse document frequency.
        keys: Ids of the candidates, best first, at least one.
    """
    head = keys[:FEEDBACK_HITS]
    records = records_of(shard, head, with_payload=False, with_vector=True)
    held = [cast("Mapping[str, Any]", records[key].vector) for key in head]
    moved = moved_vector(vector, np.asarray([vectors[DENSE] for vectors in held], np.float32))
    expanded = expanded_terms(terms, frequencies.weigh(_joined([terms_of(vectors) for vectors in held])))
    queries = {DENSE: Query.Nearest(moved.tolist(), using=DENSE), SPARSE: Query.Nearest(expanded, using=SPARSE)}
    among = Filter(must=[HasIdCondition(set(keys))])
    asked = [QueryRequest(limit=len(keys), query=query, filter=among, params=_EXACT) for query in queries.values()]
    return dict(zip(queries, shard.query_batch(QueryBatchRequest(asked)), strict=True))


def _joined(vectors: Sequence[SparseVector]) -> SparseVector:
    """Put vectors one after the other, so that their terms are weighed at once."""
    indices = [index for vector in vectors for index in vector.indices]
    return SparseVector(indices, [value for vector in vectors for value in vector.values])
