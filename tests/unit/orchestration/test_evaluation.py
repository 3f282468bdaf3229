"""The gate before a promotion: the candidate's figures beside those of the current release."""

import shutil

import dagster as dg
import pyarrow as pa
import pytest

from forebay.candidates import Candidate
from forebay.documents import DOCUMENTS
from forebay.releases import ReleaseRegistry
from forebay.settings import PathSettings
from forebay.tables import chunk_table, document_table
from orchestration.defs.release import evaluation
from tests.plain_model import plain_embedder
from tests.releases import build_release, chunk_rows

_TEXTS = {"wing": "the lift of a wing", "plate": "heat flows through a plate", "gate": "the gate of the forebay"}
_TWO = {"q1": "wing", "q2": "gate"}
_THREE = {**_TWO, "q3": "plate"}


@pytest.fixture(scope="module")
def embedder():
    return plain_embedder()


@pytest.fixture
def paths(tmp_path, monkeypatch):
    monkeypatch.setenv("FOREBAY_DATA", str(tmp_path))
    monkeypatch.setenv("FOREBAY_CORPUS_NAME", "test")
    return PathSettings()


@pytest.fixture
def registry(paths):
    return ReleaseRegistry(paths.releases)


@pytest.fixture
def source(paths):
    """The table of documents, which holds all three whatever is searchable."""
    row = {field.name: "" for field in DOCUMENTS} | {"shard": 0, "bands": []}
    rows = [row | {"doc_id": doc_id, "text": text} for doc_id, text in _TEXTS.items()]
    _publish(document_table(paths.tables), rows)


def _publish(table, rows):
    table.prepare()
    columns = {field.name: [row[field.name] for row in rows] for field in table.schema}
    table.replace(pa.table(columns, schema=table.schema))
    table.publish()


@pytest.fixture
def propose(paths, embedder, source):
    """Makes a candidate of some of the documents, and of their chunks the published table; gives its release's id."""

    def made(*doc_ids):
        documents = [(doc_id, "", _TEXTS[doc_id], {}) for doc_id in doc_ids]
        manifest = build_release(paths.shards, documents, embedder, shards=1)
        more = {"shard": 0, "chunk_no": 0, "n_tokens": 3, "chunker": "c", "run_id": "r", "doc_hash": ""}
        table = chunk_table(paths.tables)
        _publish(table, [row | more for row in chunk_rows(documents, embedder)])
        Candidate(
            embedding=manifest.embedding,
            index=manifest.index,
            shards={0: manifest.shards[0]},
            table_versions={"chunks": table.published_version()},
        ).save(paths.shards)
        return manifest

    return made


@pytest.fixture
def ask(paths):
    """Writes the golden questions: the documents that answer them, by question."""

    def write(judgements):
        folder = paths.data / "golden"
        folder.mkdir(exist_ok=True)
        queries = [f'{{"_id": "{key}", "text": "{_TEXTS[doc_id]}"}}' for key, doc_id in judgements.items()]
        (folder / "queries.jsonl").write_text("\n".join(queries))
        rows = [f"{key}\t{doc_id}\t1" for key, doc_id in judgements.items()]
        (folder / "qrels.tsv").write_text("q\td\ts\n" + "\n".join(rows))

    return write


def _evaluate():
    result = dg.materialize([evaluation], raise_on_error=False)
    (check,) = result.get_asset_check_evaluations()
    return check.passed, {name: value.value for name, value in check.metadata.items()}


@pytest.fixture
def current(paths, registry, propose, ask):
    """The current release, of all three documents, measured by two questions."""
    ask(_TWO)
    manifest = propose("wing", "plate", "gate")
    passed, metadata = _evaluate()
    assert (passed, metadata["current"], metadata["ndcg10_difference"]) == (True, "none", "not compared")
    registry.promote(manifest.release_id, shards=paths.shards)
    measured = registry.current().evaluation
    assert (measured.questions, measured.ndcg10, measured.recall100) == (2, 1.0, 1.0)
    return registry.current()


def test_the_current_release_is_measured_again_by_questions_that_have_changed(current, registry, propose, ask):
    candidate = propose("wing", "gate")
    assert _evaluate()[0]
    ask(_THREE)
    passed, metadata = _evaluate()
    assert not passed
    assert metadata["worse"] == "ndcg10 0.6667 against 1.0000; recall100 0.6667 against 1.0000"
    assert metadata["current"] == current.release_id
    assert metadata["ndcg10_difference"].startswith("-0.3333 ")
    assert metadata["ndcg10_difference"].endswith("1 of 3 questions changed")
    again, proposed = registry.current().evaluation, registry.load(candidate.release_id).evaluation
    assert (again.questions, again.ndcg10, again.questions_hash) == (3, 1.0, proposed.questions_hash)
    assert again.questions_hash != current.evaluation.questions_hash
    assert registry.current_id() == current.release_id


def test_figures_of_the_same_questions_are_kept(current, paths, propose):
    propose("wing", "gate")
    # It can't be asked any more, and needn't be.
    shutil.rmtree(paths.shards / current.shards[0].path)
    passed, metadata = _evaluate()
    assert passed
    assert metadata["ndcg10_difference"].endswith("0 of 2 questions changed")


def test_a_current_release_that_can_not_be_measured_again_holds_up_nobody(current, registry, paths, propose, ask):
    propose("wing", "gate")
    shutil.rmtree(paths.shards / current.shards[0].path)
    ask(_THREE)
    passed, metadata = _evaluate()
    assert passed
    assert (metadata["worse"], metadata["ndcg10_difference"]) == ("nothing", "not compared")
    assert registry.current() == current


def test_a_document_that_its_source_dropped_is_no_failure_of_the_candidate(current, paths, propose, ask):
    ask(_THREE)
    candidate = propose("wing", "gate")
    table = document_table(paths.tables)
    table.prepare()
    table.delete_keys("doc_id", ["plate"])
    table.publish()
    assert _evaluate()[0]
    measured = ReleaseRegistry(paths.releases).load(candidate.release_id).evaluation
    assert (measured.questions, measured.ndcg10) == (2, 1.0)
