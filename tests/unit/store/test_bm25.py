import math

import numpy as np
import pytest
from qdrant_edge import SparseVector

from forebay.settings import IndexSettings
from forebay.store.bm25 import DocumentFrequencies, bm25_model


def _sparse(*indices):
    return SparseVector(list(indices), [1.0] * len(indices))


def test_merged_shards_count_like_one():
    whole = DocumentFrequencies.count([_sparse(1, 2), _sparse(2), _sparse(2, 9)])
    merged = DocumentFrequencies.merge(
        [DocumentFrequencies.count([_sparse(1, 2)]), DocumentFrequencies.count([_sparse(2), _sparse(2, 9)])]
    )
    assert merged.n_chunks == whole.n_chunks == 3
    assert dict(zip(merged.terms.tolist(), merged.counts.tolist(), strict=True)) == {1: 1, 2: 3, 9: 1}


def test_query_terms_are_weighed_by_inverse_document_frequency():
    frequencies = DocumentFrequencies(10, np.array([5, 7], np.uint32), np.array([1, 10], np.int64))
    weighed = frequencies.weigh(SparseVector([7, 5, 6], [1.0, 1.0, 1.0]))
    weights = dict(zip(weighed.indices, weighed.values, strict=True))
    assert set(weights) == {5, 7}
    assert weights[5] == pytest.approx(math.log(1 + 9.5 / 1.5), rel=1e-6)
    assert weights[7] == pytest.approx(math.log(1 + 0.5 / 10.5), rel=1e-6)


def _asked(counts, wanted):
    """Ask for terms 0, 1, ..., which so many chunks contain."""
    terms = np.arange(len(counts), dtype=np.uint32)
    frequencies = DocumentFrequencies(1_000_000, terms, np.array(counts, np.int64))
    telling = frequencies.telling(SparseVector(wanted, [float(term) for term in wanted]))
    assert telling.values == telling.indices
    return telling.indices


def test_of_terms_that_are_quickly_read_none_is_left_out():
    assert _asked([60_000, 40_000, 40_000, 60_000, 900_000], [3, 2, 1, 0]) == [3, 2, 1, 0]


def test_the_commonest_terms_are_left_out_beyond_what_is_quickly_read():
    assert _asked([120_000, 10, 79_000, 500_000, 900], [3, 0, 4, 2, 1]) == [0, 4, 2, 1]


def test_the_three_rarest_terms_are_always_asked():
    assert _asked([900_000, 400_000, 500_000, 600_000], [0, 1, 2, 3]) == [1, 2, 3]


def test_no_terms_tell_nothing():
    assert _asked([1], []) == []


def test_an_empty_release_weighs_nothing():
    assert list(DocumentFrequencies.merge([]).weigh(_sparse(3)).indices) == []


def test_saved_frequencies_come_back(tmp_path):
    frequencies = DocumentFrequencies.count([_sparse(4, 8), _sparse(8)])
    frequencies.save(tmp_path / "f.npz")
    loaded = DocumentFrequencies.load(tmp_path / "f.npz")
    assert (loaded.n_chunks, loaded.terms.tolist(), loaded.counts.tolist()) == (2, [4, 8], [1, 2])


def test_documents_and_queries_share_terms():
    model = bm25_model(IndexSettings(), "english")
    document = set(model.embed_document("Boundary layers on flat plates").indices)
    assert set(model.embed_query("boundary layer of a plate").indices) & document
