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
    QueryRequest,
    SearchParams,
    SparseVector,
)

from forebay.store.bm25 import DocumentFrequencies
from forebay.store.feedback import FEEDBACK_HITS, expanded_terms, moved_vector
from forebay.store.qdrant_build import DENSE, SPARSE, terms_of
from forebay.store.qdrant_hits import records_of
from forebay.store.qdrant_legs import Legs, Scored, scored

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

    Their terms are read and compared here, which is quicker than the index's way from every term to each of them. Its
    vectors it compares itself: as a Python list one costs more than its comparison there.

    Args:
        shard: Holds the release.
        frequencies: Document frequencies of the release.
        vector: (dim,) float32, of the question.
        terms: The question's terms, multiplied by their inverse document frequency.
        keys: Ids of the candidates, best first, at least one.
    """
    head = keys[:FEEDBACK_HITS]
    held = _vectors_of(shard, keys, SPARSE)
    words = {key: terms_of(held[key]) for key in keys}
    expanded = expanded_terms(terms, frequencies.weigh(_joined([words[key] for key in head])))
    near = _vectors_of(shard, head, DENSE)
    moved = moved_vector(vector, np.asarray([near[key][DENSE] for key in head], np.float32))
    query = Query.Nearest(moved.tolist(), using=DENSE)
    among = Filter(must=[HasIdCondition(set(keys))])
    nearest = shard.query(QueryRequest(limit=len(keys), query=query, filter=among, params=_EXACT))
    return {DENSE: scored(nearest), SPARSE: _by_terms(expanded, words)}


def _vectors_of(shard: EdgeShard, keys: Sequence[UUID], name: str) -> dict[UUID, Mapping[str, Any]]:
    records = records_of(shard, keys, with_payload=False, with_vector=[name])
    return {key: cast("Mapping[str, Any]", record.vector) for key, record in records.items()}


def _by_terms(question: SparseVector, chunks: Mapping[UUID, SparseVector]) -> Scored:
    """Give the BM25 score of each chunk that has one of the question's terms, best first."""
    weight = dict(zip(question.indices, question.values, strict=True)).get
    scores = [
        (key, sum(weight(index, 0.0) * value for index, value in zip(terms.indices, terms.values, strict=True)))
        for key, terms in chunks.items()
    ]
    return sorted((pair for pair in scores if pair[1] > 0), key=lambda pair: -pair[1])


def _joined(vectors: Sequence[SparseVector]) -> SparseVector:
    """Put vectors one after the other, so that their terms are weighed at once."""
    indices = [index for vector in vectors for index in vector.indices]
    return SparseVector(indices, [value for vector in vectors for value in vector.values])
