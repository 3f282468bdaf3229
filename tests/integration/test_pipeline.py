"""The whole pipeline, with real Dagster, Spark, Great Expectations, Lance and Qdrant Edge."""

import json
import shutil

import dagster as dg
import lance
import pytest

from forebay.canary.settling import reject_by_hand
from forebay.canary.trials import CanaryRegistry
from forebay.candidates import Candidate
from forebay.embedding.choice import resolve_spec
from forebay.embedding.sentence_transformer import load_embedder
from forebay.releases import ReleaseRegistry
from forebay.settings import EmbeddingSettings
from forebay.store.contract import SearchMode, SearchRequest
from forebay.store.qdrant_edge import QdrantEdgeStore
from forebay.tables import (
    chunk_table,
    document_table,
    duplicate_table,
    embedding_table,
    quarantine_table,
    unit_table,
)
from tests.pipeline import Pipeline, write_rows

pytestmark = pytest.mark.integration


def _tables(pipeline):
    tables = pipeline.paths.tables
    spec = resolve_spec(EmbeddingSettings(), pipeline.paths)
    return document_table(tables), chunk_table(tables), embedding_table(tables, spec)


def _rows(table, columns=None):
    return table.published().to_table(columns=columns).to_pylist()


def _search(pipeline, text, **options):
    manifest = pipeline.release
    embedder = load_embedder(manifest.embedding, pipeline.paths.models)
    release = QdrantEdgeStore(pipeline.paths.shards, manifest.embedding, manifest.index).open(manifest)
    try:
        return release.search([SearchRequest(text, embedder.embed_queries([text])[0], **options)])[0]
    finally:
        release.close()


def test_every_document_becomes_searchable_chunks(ingested):
    documents, chunks, embeddings = _tables(ingested)
    ids = {row["doc_id"] for row in _rows(documents, ["doc_id"])}
    assert len(ids) == 40 + 2 + 2 + 1
    assert {"guide.md", "penstock.html", "after-huge", "1"} <= ids
    cut = _rows(chunks)
    assert {row["doc_id"] for row in cut} == ids - {"copies/1.txt"}
    assert {row["text_hash"] for row in cut} == {row["text_hash"] for row in _rows(embeddings, ["text_hash"])}
    assert ingested.release.chunks == len(cut)
    assert ingested.release.documents == len(ids)


def test_chunks_lie_in_their_documents_where_they_say(ingested):
    documents, chunks, _ = _tables(ingested)
    texts = {row["doc_id"]: row["text"] for row in _rows(documents)}
    for row in _rows(chunks):
        assert row["text"] == texts[row["doc_id"]][row["start_char"] : row["end_char"]]
    (turbines,) = [row for row in _rows(chunks) if row["heading_path"].endswith("Turbines")]
    assert turbines["heading_path"] == "Forebay guide > Turbines"


def test_bad_input_is_in_quarantine_with_its_reason(ingested):
    rejected = {(row["uri"], row["reason"]) for row in _rows(quarantine_table(ingested.paths.tables))}
    assert rejected == ingested.expected_rejects


def test_the_run_says_how_many_were_rejected(ingested):
    assert "9 rejected" in ingested.output


def test_documents_have_a_language(ingested):
    languages = {row["doc_id"]: row["language"] for row in _rows(_tables(ingested)[0], ["doc_id", "language"])}
    assert languages["guide.md"] == "en"
    assert languages["prüfung.txt"] == "de"
    assert _search(ingested, "Turbinen", where={"language": "de"})[0].doc_id == "prüfung.txt"


def test_near_duplicates_are_searched_once_and_all_their_places_are_known(ingested):
    (merged,) = _rows(duplicate_table(ingested.paths.tables))
    assert (merged["doc_id"], merged["canonical_id"], merged["kind"]) == ("copies/1.txt", "1", "near")
    assert merged["similarity"] > 0.8
    hits = _search(ingested, "lift of a wing in a propeller slipstream", top_k=100)
    assert hits[0].doc_id == "1"
    assert [place["uri"] for place in hits[0].locations] == ["copies/1.txt"]
    assert "copies/1.txt" not in {hit.doc_id for hit in hits}


def test_the_run_report_tells_what_was_found(ingested):
    (page,) = (ingested.paths.data / "reports").glob("*.html")
    text = page.read_text("utf-8")
    for part in ("45 new", "duplicate_id", "copies/1.txt", "data:image/png;base64"):
        assert part in text


def test_search_finds_passages_of_every_format(ingested):
    assert _search(ingested, "the penstock leads water down to the plant")[0].doc_id == "penstock.html"
    assert _search(ingested, "what turns falling water into power")[0].doc_id == "guide.md"
    assert _search(ingested, "lift of a wing in a propeller slipstream")[0].doc_id == "1"


def test_the_release_was_evaluated_on_the_golden_questions(ingested):
    evaluation = ingested.release.evaluation
    assert evaluation.questions > 5
    assert evaluation.ndcg10 > 0.5


def test_quality_reports_are_pages(ingested):
    for table in ("documents", "chunks", "embeddings"):
        assert f"{table}_sample" in (ingested.paths.quality / table / "index.html").read_text()


def test_a_run_without_changes_changes_nothing(ingested, copied):
    before = [table.published_version() for table in _tables(copied)]
    release, shards = copied.release, sorted(copied.paths.shards.glob("s*/*"))
    built = [path.stat().st_mtime_ns for path in shards]
    succeeded, output = copied.run()
    assert succeeded, output
    assert [table.published_version() for table in _tables(copied)] == before
    assert copied.release == release
    assert sorted(copied.paths.shards.glob("s*/*")) == shards
    assert [path.stat().st_mtime_ns for path in shards] == built


def test_changed_and_deleted_documents_cost_only_themselves(ingested, tmp_path, copied):
    source = tmp_path / "source"
    shutil.copytree(ingested.source, source)
    rows = [json.loads(line) for line in (source / "abstracts.jsonl").read_text().splitlines()]
    _, chunks, embeddings = _tables(copied)
    old_vectors = {row["text_hash"] for row in _rows(embeddings, ["text_hash"])}
    old_shards = {ref.number: ref for ref in copied.release.shards}
    shard_of = {row["doc_id"]: row["shard"] for row in _rows(chunks, ["doc_id", "shard"])}
    judged = {line.split("\t")[1] for line in (source / "qrels.tsv").read_text().splitlines()[1:]}
    # A change of a judged one may fail the gate; the first one has a near-duplicate, which a change would bring back.
    changed, *others = [row["_id"] for row in rows[1:] if row["_id"] not in judged]
    deleted = next(doc_id for doc_id in others if shard_of[doc_id] == shard_of[changed])
    rows = [row for row in rows if row["_id"] != deleted]
    next(row for row in rows if row["_id"] == changed)["text"] = (
        "an entirely new text about ornithopters with flapping membranes ."
    )
    # The same source by name: the copy is what the source has become.
    write_rows(source, rows)
    _move_source(copied, ingested.source, source)
    pipeline = Pipeline(source, copied.data)
    succeeded, output = pipeline.run()
    assert succeeded, output
    new_rows = [row for row in _rows(chunks) if row["doc_id"] == changed]
    new_vectors = {row["text_hash"] for row in _rows(embeddings, ["text_hash"])}
    assert new_vectors - old_vectors == {row["text_hash"] for row in new_rows}
    # The place of its near-duplicate, which has moved with the source, stands in the first one's shard.
    rebuilt = {ref.number for ref in pipeline.release.shards if ref != old_shards[ref.number]}
    assert rebuilt == {shard_of[changed], shard_of["1"]}
    assert _search(pipeline, "ornithopters with flapping membranes")[0].doc_id == changed
    everything = _search(pipeline, "wing flow heat", top_k=1000)
    assert deleted not in {hit.doc_id for hit in everything}
    assert not [row for row in _rows(chunks) if row["doc_id"] == deleted]


def _move_source(pipeline, old, new):
    """Let the documents of `old` belong to `new`."""
    tables = pipeline.paths.tables
    for table in (document_table(tables), quarantine_table(tables), unit_table(tables)):
        lance.dataset(table.uri).update({"source": f"'{new}'"}, where=f"source = '{old}'")
        table.publish()


def test_vectors_can_be_reduced_and_made_whole_again(ingested, copied):
    before = copied.release
    reduced = {"FOREBAY_INDEX_REDUCTION": "pca", "FOREBAY_INDEX_DIMENSIONS": "32"}
    succeeded, output = copied.run(**reduced, FOREBAY_RELEASE_MARGIN="1")
    assert succeeded, output
    first = copied.release
    assert first.index.dimensions == 32
    assert first.release_id != before.release_id
    assert first.reduction == Candidate.load(copied.paths.shards).reduction != ""
    for mode in SearchMode:
        best = _search(copied, "how does a turbine turn falling water into power", mode=mode)[0]
        assert best.doc_id == "guide.md"
    succeeded, output = copied.run(FOREBAY_RELEASE_MARGIN="1")
    assert succeeded, output
    assert copied.release.release_id == before.release_id
    assert copied.release.reduction == ""
    # The way back needs no kept projection: the release's shards hold theirs.
    shutil.rmtree(copied.data / "projections")
    ReleaseRegistry(copied.paths.releases).rollback(shards=copied.paths.shards)
    assert copied.release == first
    assert _search(copied, "how does a turbine turn falling water into power")[0].doc_id == "guide.md"


def test_a_failed_check_leaves_everything_published_as_it_was(ingested, copied, tmp_path):
    before = [table.published_version() for table in _tables(copied)]
    empty = tmp_path / "empty"
    empty.mkdir()
    succeeded, output = Pipeline(empty, copied.data).run()
    assert not succeeded
    assert "documents failed a blocking check" in output
    assert "check source_has_documents: a source gave no document at all; bring it back" in output
    known = {page.name for page in (ingested.data / "reports").iterdir()}
    (page,) = [page for page in (copied.data / "reports").iterdir() if page.name not in known]
    text = page.read_text("utf-8")
    assert "<strong>documents</strong>: <code>the documents failed a blocking check" in text
    assert "check <strong>source_has_documents</strong> of documents is not met" in text
    assert copied.release_id == ingested.release_id
    assert [table.published_version() for table in _tables(copied)] == before


def test_a_missing_source_is_one_sentence(copied, tmp_path):
    succeeded, output = Pipeline(tmp_path / "nowhere", copied.data).run()
    assert not succeeded
    assert "there is no folder" in output
    assert "Traceback" not in output


# A killed embedding job: tests/integration/test_reembed.py.
def test_a_killed_shard_build_ends_in_the_same_release(ingested, copied):
    shutil.rmtree(copied.paths.shards)
    shutil.rmtree(copied.paths.releases)

    def is_building():
        return any(copied.paths.shards.glob("s*/.building-*/segments"))

    assert copied.kill_when(is_building) != 0
    assert copied.release_id is None
    succeeded, output = copied.run()
    assert succeeded, output
    assert copied.release_id == ingested.release_id
    assert not list(copied.paths.shards.glob("s*/.building-*"))


def _keep_one_shard(copied):
    """Make a candidate of a corpus of which one shard is left; gives the one before."""
    candidate = Candidate.load(copied.paths.shards)
    chunks = _tables(copied)[1]
    chunks.delete("shard != 0")
    chunks.publish()
    versions = {**candidate.table_versions, "chunks": chunks.published_version()}
    smaller = candidate.model_copy(update={"shards": {0: candidate.shards[0]}, "table_versions": versions})
    smaller.save(copied.paths.shards)
    return candidate


def test_with_a_share_the_candidate_becomes_the_canary(ingested, copied, monkeypatch):
    from orchestration.defs.release import evaluation, release
    from orchestration.defs.report import run_report

    monkeypatch.setenv("FOREBAY_DATA", str(copied.data))
    monkeypatch.setenv("FOREBAY_RELEASE_MARGIN", "1")
    monkeypatch.setenv("FOREBAY_RELEASE_CANARY_SHARE", "0.2")
    _keep_one_shard(copied)
    result = dg.materialize([evaluation, release, run_report])
    (made,) = result.asset_materializations_for_node("release")
    canary = CanaryRegistry(copied.paths.releases).current()
    assert (made.metadata["place"].value, made.metadata["release_id"].value) == ("canary", canary.release_id)
    assert copied.release_id == canary.against == ingested.release_id != canary.release_id
    (report,) = result.asset_materializations_for_node("run_report")
    assert f"Release `{canary.release_id}` is the canary" in report.metadata["report"].value
    reject_by_hand(copied.paths)
    # Nothing changed, so the same release again: it is not tried a second time.
    again = dg.materialize([release], raise_on_error=False)
    assert "was rolled back (rolled back by hand)" in again.failure_data_for_node("release").error.to_string()
    assert copied.release_id == ingested.release_id


def test_a_worse_candidate_is_not_promoted(ingested, copied, monkeypatch):
    from orchestration.defs.release import evaluation, release

    monkeypatch.setenv("FOREBAY_DATA", str(copied.data))
    candidate = _keep_one_shard(copied)
    result = dg.materialize([evaluation, release], raise_on_error=False)
    assert not result.success
    (check,) = result.get_asset_check_evaluations()
    assert (check.check_name, check.passed) == ("candidate_is_not_worse", False)
    assert copied.release_id == ingested.release_id
    candidate.save(copied.paths.shards)
    assert dg.materialize([evaluation, release]).success
