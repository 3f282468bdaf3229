import io
from datetime import UTC, datetime

import pytest
from rich.console import Console
from sentence_transformers import CrossEncoder
from typer.testing import CliRunner

from forebay.cli.configuration import load_settings
from forebay.cli.explain import filter_text, print_explanation
from forebay.cli.main import app
from forebay.errors import ConfigurationError
from forebay.releases import ReleaseRegistry
from forebay.settings import PathSettings, ServingSettings
from forebay.store.contract import SearchRequest
from forebay.store.filters import parse_filter
from forebay.store.fusion import BM25_WEIGHTS
from forebay.store.qdrant_edge import QdrantEdgeStore
from forebay.store.weaviate_connection import connect
from forebay.store.weaviate_store import WeaviateStore
from forebay.testing import HashEmbedder
from tests.cross_encoder import write_cross_encoder
from tests.releases import build_release, chunk_rows
from tests.stores import ClusterReleases
from tests.weaviate_cluster import served_wire

_DOCUMENTS = [
    ("valve", "The [red] valve", "kestrel valve closes at high pressure", {"year": 2020}),
    ("pump", "The pump", "kestrel pump drives water", {"year": 2021}),
    ("wing", "The wing", "lift of a wing in a flow", {"year": 2022}),
]

runner = CliRunner(env={"COLUMNS": "200"})


@pytest.fixture
def current(tmp_path, monkeypatch):
    """A promoted release below the data folder that the commands look at."""
    monkeypatch.setenv("FOREBAY_DATA", str(tmp_path))
    paths = PathSettings()
    registry = ReleaseRegistry(paths.releases)
    manifest = registry.save(build_release(paths.shards, _DOCUMENTS, HashEmbedder()))
    registry.promote(manifest.release_id, shards=paths.shards)
    return manifest


def _explain(*arguments):
    return runner.invoke(app, ["explain", *arguments])


def _rows(text, title):
    """The words of each row of the table with this title."""
    lines = text[text.index(title) :].splitlines()[2:]
    return [line.split() for line in lines[: lines.index("") if "" in lines else None]]


def test_a_search_by_words_is_explained_without_a_model(current):
    result = _explain("closes water", "--mode", "bm25")
    assert result.exit_code == 0, result.output
    assert current.release_id in result.stdout
    assert "restricted to: nothing" in result.stdout
    assert {row[2] for row in _rows(result.stdout, "bm25 leg: 2 found")} == {"valve", "pump"}
    hits = _rows(result.stdout, "hits: 2")
    assert [row[0] for row in hits] == ["1", "2"]
    # No similarity without a vector; a title is no markup.
    assert all(row[2] == "-" for row in hits)
    assert "The [red] valve" in result.stdout
    steps = [" ".join(row[:-1]) for row in _rows(result.stdout, "time")]
    assert steps == ["open the release", "plan", "legs", "hits"]


def test_a_release_in_a_cluster_is_explained(tmp_path, monkeypatch):
    with served_wire() as wire, connect(wire.settings()) as client:
        for name, value in {"FOREBAY_DATA": tmp_path, "FOREBAY_WEAVIATE_URL": wire.url}.items():
            monkeypatch.setenv(name, str(value))
        monkeypatch.setenv("FOREBAY_WEAVIATE_GRPC_PORT", str(wire.grpc_port))
        monkeypatch.setattr("forebay.cli.explain.load_embedder", lambda *_: HashEmbedder())
        built = ClusterReleases(WeaviateStore(client, wire.settings())).build(chunk_rows(_DOCUMENTS, HashEmbedder()))
        registry = ReleaseRegistry(PathSettings().releases)
        registry.promote(registry.save(built).release_id, shards=PathSettings().shards)
        result = _explain("closes water", "--filter", '{"metadata.year": [2020, 2021]}')
    assert result.exit_code == 0, result.output
    assert built.release_id in result.stdout
    assert "restricted to: metadata.year in [2020, 2021]" in result.stdout
    for title in ("dense leg: 2", "bm25 leg: 2", "dense leg, after feedback: 2", "bm25 leg, after feedback: 2"):
        assert {row[2] for row in _rows(result.stdout, title)} == {"valve", "pump"}
    # hit, score, similarity, rank by vector, by words, fused, before feedback, document
    assert [row[0] for row in _rows(result.stdout, "hits: 2")] == ["1", "2"]
    assert [row[5] for row in _rows(result.stdout, "hits: 2")] == ["1", "2"]
    steps = [" ".join(row[:-1]) for row in _rows(result.stdout, "time")]
    assert steps[3:] == ["plan", "legs", "feedback", "hits"]


def test_the_filter_and_the_limit_are_applied_and_shown(current):
    result = _explain("kestrel", "--mode", "bm25", "--filter", '{"metadata.year": {"gte": 2021}}', "--top-k", "1")
    assert "restricted to: metadata.year >= 2021" in result.stdout
    assert [row[2] for row in _rows(result.stdout, "bm25 leg: 1 found")] == ["pump"]
    assert len(_rows(_explain("kestrel", "--mode", "bm25", "--top-k", "1").stdout, "hits: 1")) == 1


def test_the_rules_of_the_wording_are_shown(current):
    shown = _explain('E-1234 "drives water"', "--mode", "bm25").stdout
    assert "required phrases: 'drives water'" in shown
    assert "the bm25 leg weighs 5 times" in shown
    assert [row[5] for row in _rows(shown, "hits: 1")] == ["pump"]
    plain = _explain("drives water", "--mode", "bm25").stdout
    assert "phrases" not in plain
    assert "weighs" not in plain


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["  "], "the question is empty"),
        (["x", "--filter", "{"], "is no JSON;"),
        (["x", "--filter", "[]"], "is no JSON object"),
        (["x", "--filter", '{"colour": "red"}'], "colour"),
        (["x", "--release", "0123456789abcdef"], "0123456789abcdef"),
    ],
)
def test_what_can_not_be_explained_is_one_sentence(current, arguments, expected):
    result = _explain(*arguments, "--mode", "bm25")
    assert result.exit_code == 1
    assert expected in result.stderr
    assert "Traceback" not in result.output


def test_without_a_release_it_says_how_to_make_one(tmp_path, monkeypatch):
    monkeypatch.setenv("FOREBAY_DATA", str(tmp_path))
    result = _explain("kestrel")
    assert result.exit_code == 1
    assert "forebay ingest PATH" in result.stderr


def test_the_ranks_of_every_leg_stand_beside_a_hit(tmp_path):
    embedder = HashEmbedder()
    manifest = build_release(tmp_path, _DOCUMENTS, embedder).model_copy(
        update={"created_at": datetime(2026, 1, 1, tzinfo=UTC)}
    )
    opened = QdrantEdgeStore(tmp_path, manifest.embedding, manifest.index).open(manifest)
    (vector,) = embedder.embed_queries(["kestrel pump"])
    explanation = opened.explain(SearchRequest("kestrel pump", vector, 3))
    opened.close()
    out = io.StringIO()
    print_explanation(manifest, explanation, {}, top_k=3, console=Console(file=out, width=200))
    for title in ("dense leg: 3", "bm25 leg: 2", "dense leg, after feedback: 3", "bm25 leg, after feedback"):
        assert title in out.getvalue()
    hits = _rows(out.getvalue(), "hits: 3")
    # hit, score, similarity, rank by vector, by words, fused, before feedback
    assert hits[0][3:8] == ["1", "1", "1", "1", "pump"]
    assert hits[1][7] == "valve"


def test_the_service_settings_for_fusion_and_feedback_are_heeded_and_shown(current, monkeypatch):
    monkeypatch.setattr("forebay.cli.explain.load_embedder", lambda *_: HashEmbedder())
    default = _explain("kestrel pump").stdout
    assert "legs joined by: rrf" in default
    monkeypatch.setenv("FOREBAY_SERVING_FUSION", "relative_score")
    monkeypatch.setenv("FOREBAY_SERVING_FEEDBACK", "false")
    shown = _explain("kestrel pump").stdout
    assert "legs joined by: relative_score" in shown
    assert "after feedback" in default
    assert "after feedback" not in shown
    # The first of both legs.
    assert _rows(default, "hits: 3")[0][1] == f"{2 / 61:.4f}"
    assert float(_rows(shown, "hits: 3")[0][1]) == pytest.approx(1 + BM25_WEIGHTS["relative_score"], abs=1e-4)
    assert "legs joined" not in _explain("kestrel", "--mode", "bm25").stdout


def test_a_fusion_that_there_is_not_is_one_sentence_that_names_the_others(current, monkeypatch):
    monkeypatch.setenv("FOREBAY_SERVING_FUSION", "ranked")
    expected = "FOREBAY_SERVING_FUSION='ranked': Input should be 'rrf' or 'relative_score'"
    with pytest.raises(ConfigurationError, match=expected):
        load_settings(ServingSettings)
    result = _explain("kestrel", "--mode", "bm25")
    assert result.exit_code == 1
    assert expected in result.stderr
    assert "Traceback" not in result.output


def test_a_filter_is_written_as_a_person_would():
    where = {
        "or": [
            {"source": ["a", "b"]},
            {"not": {"metadata.year": {"gt": 1, "lte": 2}}},
            {"metadata.a": {"exists": True}},
        ]
    }
    assert filter_text(parse_filter(where)) == (
        "(source in ['a', 'b']) or (not (metadata.year > 1 and metadata.year <= 2)) or (metadata.a exists)"
    )
    assert filter_text(parse_filter({"source": "a", "language": "en"})) == "(source = 'a') and (language = 'en')"


@pytest.fixture
def reranker(tmp_path, monkeypatch):
    """A reranker that is set, with all the time that it wants; its own scores are the expected ones."""
    monkeypatch.setattr("forebay.cli.explain.load_embedder", lambda *_: HashEmbedder())
    folder = str(write_cross_encoder(tmp_path / "cross-encoder"))
    monkeypatch.setenv("FOREBAY_SERVING_RERANKER", folder)
    monkeypatch.setenv("FOREBAY_SERVING_RERANKER_BUDGET_MS", "60000")
    return CrossEncoder(folder, local_files_only=True)


def test_the_reranker_shows_scores_and_the_ranks_before(current, reranker):
    question = "lift of a pump"
    result = _explain(question, "--top-k", "2")
    assert result.exit_code == 0, result.output
    assert "reranked: the first 3 by their rerank score" in result.stdout
    titles = {doc_id: f"{title}\n{text}" for doc_id, title, text, _ in _DOCUMENTS}
    scores = dict(zip(titles, reranker.predict([[question, text] for text in titles.values()]), strict=True))
    hits = _rows(result.stdout, "hits: 2")
    # hit, score, similarity, rank by vector, by words, fused, before feedback, rerank score, document
    assert [row[8] for row in hits] == sorted(scores, key=lambda doc_id: -scores[doc_id])[:2]
    assert [float(row[7]) for row in hits] == pytest.approx(sorted(scores.values())[:0:-1], abs=1e-4)
    assert [row[5] for row in hits] != ["1", "2"]
    steps = [" ".join(row[:-1]) for row in _rows(result.stdout, "time")]
    assert steps[3:] == ["load the reranker", "plan", "legs", "feedback", "hits", "rerank"]


def test_over_budget_is_said_and_the_order_is_the_searchs(current, reranker, monkeypatch):
    monkeypatch.setenv("FOREBAY_SERVING_RERANKER_BUDGET_MS", "0.001")
    shown = _explain("lift of a pump", "--top-k", "2").stdout
    assert "not reranked, over budget" in shown
    assert "FOREBAY_SERVING_RERANKER_BUDGET_MS" in shown
    assert [row[5] for row in _rows(shown, "hits: 2")] == ["1", "2"]


def test_a_leg_alone_is_not_reranked(current, reranker):
    shown = _explain("lift of a pump", "--mode", "bm25").stdout
    assert "rerank" not in shown
