import pytest

from forebay.store import bm25
from forebay.store.access import EVERYTHING
from forebay.store.contract import SearchMode, SearchRequest
from forebay.store.explanation import Candidate, Round
from forebay.store.qdrant_edge import QdrantEdgeStore
from forebay.testing import HashEmbedder
from tests.releases import build_release

_DOCUMENTS = [(f"d{n}", f"title {n}", f"wing number{n} of {'lift' if n % 3 else 'drag'}", {}) for n in range(30)]


@pytest.fixture(scope="module")
def embedder():
    return HashEmbedder()


@pytest.fixture(scope="module")
def release(tmp_path_factory, embedder):
    root = tmp_path_factory.mktemp("shards")
    manifest = build_release(root, _DOCUMENTS, embedder, shards=3)
    opened = QdrantEdgeStore(root, manifest.embedding, manifest.index).open(manifest)
    yield opened
    opened.close()


def _request(embedder, text, **options):
    return SearchRequest(text, embedder.embed_queries([text])[0], **options)


def test_common_words_that_bm25_is_not_asked_for_are_named(release, embedder, monkeypatch):
    request = _request(embedder, "Wing, title and wings of lift or drag", caller=EVERYTHING)
    assert release.explain(request).left_out == []
    monkeypatch.setattr(bm25, "_MAX_POSTINGS", 30)
    monkeypatch.setattr(bm25, "_LEAST_TERMS", 2)
    assert release.explain(request).left_out == ["wing", "title", "wings"]
    assert release.explain(_request(embedder, request.text, mode=SearchMode.DENSE, caller=EVERYTHING)).left_out == []


@pytest.fixture(scope="module")
def crowded(tmp_path_factory, embedder):
    """A release of 20 passages with `wing`, 3 of which have `kestrel`, `falcon` and `osprey`, too."""
    documents = [(f"d{n}", "", f"wing {'kestrel falcon osprey' if n < 3 else f'number{n}'}", {}) for n in range(20)]
    root = tmp_path_factory.mktemp("shards")
    manifest = build_release(root, documents, embedder, shards=2)
    opened = QdrantEdgeStore(root, manifest.embedding, manifest.index).open(manifest)
    yield opened
    opened.close()


def _scored_by_words(release, embedder, question, **options):
    """Give how many passages the BM25 leg found in each round."""
    rounds = release.explain(_request(embedder, question, **options)).rounds
    return [len(asked.legs["bm25"]) for asked in rounds]


def test_what_is_scored_anew_is_found_by_the_rarest_terms_alone_where_the_others_are_too_many(
    crowded, embedder, monkeypatch
):
    question = "kestrel falcon osprey wing"
    assert _scored_by_words(crowded, embedder, question) == [20, 20]
    monkeypatch.setattr("forebay.store.bm25._MAX_POSTINGS", 10)
    # The dense leg found all of them, and then every word counts.
    assert _scored_by_words(crowded, embedder, question) == [3, 20]


@pytest.mark.parametrize(
    ("question", "options"),
    [
        ("kestrel falcon osprey wing", {"feedback": False}),
        ("kestrel falcon osprey wing", {"mode": SearchMode.BM25}),
        ("kestrel falcon osprey wing", {"where": {"source": "tests"}}),
        ('kestrel falcon osprey "wing"', {}),
        ("kestrel falcon osprey wing x15", {}),
    ],
)
def test_otherwise_every_term_is_asked(crowded, embedder, monkeypatch, question, options):
    monkeypatch.setattr("forebay.store.bm25._MAX_POSTINGS", 10)
    assert _scored_by_words(crowded, embedder, question, **options)[0] == 20


def test_of_what_a_filter_leaves_every_term_is_asked_only_where_the_rarest_find_too_little(
    embedder, tmp_path, monkeypatch
):
    monkeypatch.setattr("forebay.store.bm25._MAX_POSTINGS", 150)
    birds = ["kestrel", "falcon", "osprey"]
    documents = [
        (f"d{n}", "", f"wing {birds[n % 3] if n < 120 else f'number{n}'}", {"part": n // 60}) for n in range(180)
    ]
    manifest = build_release(tmp_path, documents, embedder)
    opened = QdrantEdgeStore(tmp_path, manifest.embedding, manifest.index).open(manifest)

    def found(part):
        where = {"metadata.part": part}
        told = opened.explain(_request(embedder, "kestrel falcon osprey wing", where=where, caller=EVERYTHING))
        return told.left_out, len(told.rounds[0].legs["bm25"])

    assert found(1) == (["wing"], 40)
    assert found(2) == ([], 40)
    monkeypatch.setattr("forebay.store.qdrant_edge._WIDE", 0.5)
    assert found(1) == ([], 40)
    opened.close()


def test_words_that_no_chunk_has_leave_a_round_without_that_leg(release, embedder):
    (asked,) = release.explain(_request(embedder, "zzz", mode=SearchMode.BM25)).rounds
    assert (dict(asked.legs), list(asked.fused)) == ({}, [])


def test_a_rank_counts_from_one_and_is_none_where_a_passage_is_not():
    a, b = Candidate("a", "A", "", 0.9), Candidate("b", "B", "", 0.8)
    asked = Round({"dense": [a, b], "bm25": [b]}, [b, a])
    assert (asked.ranks("a"), asked.ranks("b"), asked.ranks("c")) == ({"dense": 1}, {"dense": 2, "bm25": 1}, {})
    assert (asked.fused_rank("a"), asked.fused_rank("c")) == (2, None)
