import numpy as np
import pytest
from qdrant_edge import Filter, HasIdCondition, Query, QueryRequest, SearchParams, SparseVector

from forebay.settings import IndexSettings
from forebay.store import qdrant_feedback
from forebay.store.qdrant_build import DENSE, SPARSE
from forebay.store.qdrant_edge import QdrantEdgeStore
from forebay.testing import HashEmbedder
from tests.releases import build_release


def test_candidates_have_the_scores_that_the_index_gives_them(tmp_path, monkeypatch):
    embedder, words = HashEmbedder(), ["kestrel", "falcon", "osprey", "heron", "plover"]
    texts = [" ".join([words[n % 5]] * (1 + n % 3) + [words[(n // 5) % 5], f"number{n}"]) for n in range(60)]
    documents = [(f"d{n}", "", text, {}) for n, text in enumerate([*texts, "the of and"])]
    manifest = build_release(tmp_path, documents, embedder)
    release = QdrantEdgeStore(tmp_path, embedder.spec, IndexSettings()).open(manifest)
    shard = release._shard
    every = shard.query(QueryRequest(limit=61, query=Query.Nearest(np.ones(embedder.spec.dim).tolist(), using=DENSE)))
    keys = [point.id for point in every]
    asked = []
    expand = qdrant_feedback.expanded_terms
    monkeypatch.setattr(qdrant_feedback, "expanded_terms", lambda *terms: asked.append(expand(*terms)) or asked[-1])
    question = release._question_terms.read("falcon heron")
    (vector,) = embedder.embed_queries(["falcon heron"])
    legs = qdrant_feedback.feedback_legs(shard, release._frequencies, vector, question, keys)
    (terms,) = asked
    query = Query.Nearest(SparseVector(terms.indices, terms.values), using=SPARSE)
    among = Filter(must=[HasIdCondition(set(keys))])
    expected = shard.query(QueryRequest(limit=61, query=query, filter=among, params=SearchParams(exact=True)))
    release.close()
    assert 10 < len(expected) < 61
    assert dict(legs[SPARSE]) == pytest.approx({point.id: point.score for point in expected}, rel=1e-5)
    scores = [score for _, score in legs[SPARSE]]
    assert scores == sorted(scores, reverse=True)
    assert len(legs[DENSE]) == 61
