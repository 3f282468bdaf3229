import pytest

from forebay.settings import IndexSettings
from forebay.store import qdrant_edge
from forebay.store.contract import SearchRequest
from forebay.store.qdrant_edge import QdrantEdgeStore
from forebay.store.qdrant_effort import search_params
from forebay.testing import HashEmbedder
from tests.releases import build_release


@pytest.mark.parametrize(
    ("shards", "share", "ef"), [(1, 1.0, 120), (2, 1.0, 60), (4, 1.0, 40), (4, 0.5, 160), (1, 0.0, 1080)]
)
def test_a_graph_is_walked_further_where_a_filter_takes_nodes_out_of_it(shards, share, ef):
    assert search_params(40, IndexSettings(), shards, share).hnsw_ef == ef


@pytest.mark.parametrize(("shards", "oversampling"), [(1, 6.0), (4, 1.5), (100, 1.0)])
def test_shards_that_give_their_best_each_rescore_less(shards, oversampling):
    assert search_params(40, IndexSettings(quantization="binary"), shards).quantization.oversampling == oversampling


@pytest.mark.parametrize(("where", "share"), [(None, 1.0), ({"metadata.half": 1}, 0.5), ({"metadata.half": 7}, 0.0)])
def test_a_search_estimates_what_its_filter_leaves(tmp_path, monkeypatch, where, share):
    embedder = HashEmbedder(8)
    documents = [(f"d{number}", "title", f"text {number}", {"half": number % 2}) for number in range(30)]
    manifest = build_release(tmp_path, documents, embedder, shards=2)
    release = QdrantEdgeStore(tmp_path, embedder.spec, manifest.index).open(manifest)
    shares = []
    monkeypatch.setattr(qdrant_edge, "search_params", lambda *asked: shares.append(asked[3]) or search_params(*asked))
    release.search([SearchRequest("text", embedder.embed_queries(["text"])[0], 5, where=where)])
    release.close()
    assert shares == [pytest.approx(share, abs=0.05)]
