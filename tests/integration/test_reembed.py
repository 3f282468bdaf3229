"""Another embedding model beside the old one: cost, resumption, promotion, and the way back."""

import os
import subprocess
import sys
from itertools import groupby

import numpy as np
import pytest

from forebay.chunks import embedded_text
from forebay.embedding.choice import resolve_spec
from forebay.embedding.late_chunking import load_window_embedder
from forebay.embedding.reembedding import estimate
from forebay.embedding.sentence_transformer import load_embedder
from forebay.embedding.windows import KEY_DIGITS
from forebay.settings import EmbeddingSettings
from forebay.store.contract import SearchRequest
from forebay.store.qdrant_edge import QdrantEdgeStore
from forebay.tables import chunk_table, embedding_table
from tests.altered_model import write_shallow_model
from tests.pipeline import ROOT, Pipeline

_TIMEOUT_S = 600


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_shallow_model(tmp_path_factory.mktemp("models") / "shallow")


def _forebay(pipeline, *arguments, **environment):
    # One engine, so that no machine calibrates.
    chosen = {"FOREBAY_RELEASE_MARGIN": "1", "NO_COLOR": "1", "COLUMNS": "200", **environment}
    done = subprocess.run(
        [sys.executable, "-m", "forebay.cli.main", *arguments],
        cwd=ROOT,
        env={**pipeline.environment, **chosen},
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
    )
    return done.returncode, done.stdout + done.stderr


def _reembed(pipeline, model, *options, **environment):
    return _forebay(
        pipeline, "reembed", "--model", str(model), "--engine", "torch", "--precision", "fp32", *options, **environment
    )


def _spec(pipeline, model):
    return resolve_spec(EmbeddingSettings(model=str(model), engine="torch", precision="fp32"), pipeline.paths)


def _rows(vectors):
    return vectors.published().to_table(columns=["text_hash", "run_id"]).to_pylist()


def _best(pipeline, manifest, question):
    embedder = load_embedder(manifest.embedding, pipeline.paths.models)
    opened = QdrantEdgeStore(pipeline.paths.shards, manifest.embedding, manifest.index).open(manifest)
    # Without feedback: a model of few layers finds much that leads away.
    (hits,) = opened.search([SearchRequest(question, embedder.embed_queries([question])[0], 5, feedback=False)])
    opened.close()
    return hits[0].doc_id


def test_a_dry_run_says_what_it_would_cost_and_writes_nothing(ingested, copied, model):
    def state():
        return {path for path in copied.data.rglob("*") if "spark" not in path.parts}

    before = state()
    status, output = _reembed(copied, model, "--dry-run")
    assert status == 0, output
    cost = estimate(_spec(copied, model), copied.paths)
    assert f"about {cost.texts:,} of {cost.texts:,}" in output
    assert "tokens/s, measured here" in output
    assert "hours" in output
    assert state() == before


def test_a_killed_reembedding_goes_on_and_the_old_release_stays_for_the_way_back(ingested, copied, model):
    old = ingested.release
    vectors = embedding_table(copied.paths.tables, _spec(copied, model))

    def some_are_embedded():
        return vectors.path.exists() and vectors.published_rows() > 0

    chosen = {
        "FOREBAY_EMBEDDING_MODEL": str(model),
        "FOREBAY_EMBEDDING_ENGINE": "torch",
        "FOREBAY_EMBEDDING_PRECISION": "fp32",
    }
    cost = estimate(_spec(copied, model), copied.paths)
    assert copied.kill_when(some_are_embedded, reembed=True, **chosen) != 0
    kept = {row["text_hash"]: row["run_id"] for row in _rows(vectors)}
    assert kept
    assert copied.release_id == old.release_id
    assert _best(copied, copied.release, "what turns falling water into power") == "guide.md"

    status, output = _reembed(copied, model)
    assert status == 0, output
    new = copied.release
    assert new.embedding == _spec(copied, model)
    # It takes shorter texts.
    assert new.chunks > old.chunks
    # A lower bound, for sentences are kept whole.
    assert old.chunks < cost.chunks <= new.chunks
    assert cost.chunks == pytest.approx(new.chunks, rel=0.35)
    assert cost.texts == pytest.approx(vectors.published_rows(), rel=0.35)
    assert new.documents == old.documents
    # What the killed run had embedded was not embedded again.
    final = _rows(vectors)
    assert {row["text_hash"]: row["run_id"] for row in final if row["run_id"] in kept.values()} == kept
    assert len(final) == len({row["text_hash"] for row in final}) > len(kept)
    assert _best(copied, new, "what turns falling water into power") == "guide.md"
    # The old one can still be searched, with its own model.
    assert _best(copied, old, "what turns falling water into power") == "guide.md"

    status, output = _reembed(copied, model)
    assert status == 1
    assert "nothing to do" in output

    # And after the way back its old one, of which every vector is still there.
    status, output = _forebay(copied, "release", "rollback")
    assert status == 0, output
    assert copied.release_id == old.release_id
    table = embedding_table(copied.paths.tables, old.embedding)
    version = table.published_version()
    succeeded, output = copied.run(FOREBAY_RELEASE_MARGIN="1")
    assert succeeded, output
    assert copied.release_id == old.release_id
    assert table.published_version() == version


def _windows(pipeline, spec):
    """Give the rows of each window of the chunk table, and the vectors that late chunking gives them."""
    embedder = load_window_embedder(spec, pipeline.paths.models)
    rows = chunk_table(pipeline.paths.tables).published().to_table().to_pylist()
    rows.sort(key=lambda row: (row["doc_id"], row["chunk_no"]))
    for _, found in groupby(rows, key=lambda row: (row["doc_id"], row["text_hash"][:KEY_DIGITS])):
        window = list(found)
        texts = [embedded_text(row["title"], row["heading_path"], row["text"]) for row in window]
        yield window, embedder.embed_windows([texts])[0]


def test_late_chunking_embeds_windows_and_later_only_what_lacks_a_vector(ingested, copied, tmp_path):
    late = ("reembed", "--model", ingested.release.embedding.model, "--engine", "late", "--precision", "fp32")
    status, output = _forebay(copied, *late, "--dry-run")
    assert status == 0, output
    assert "(late fp32)" in output
    status, output = _forebay(copied, *late)
    assert status == 0, output
    release = copied.release
    assert release.embedding.is_late
    assert _best(copied, release, "what turns falling water into power") == "guide.md"
    table = embedding_table(copied.paths.tables, release.embedding)
    made = {row["text_hash"]: row for row in table.published().to_table().to_pylist()}
    windows = list(_windows(copied, release.embedding))
    assert len({row["text_hash"] for window, _ in windows for row in window}) == len(made)
    for window, vectors in windows:
        assert np.abs(np.array([made[row["text_hash"]]["vector"] for row in window]) - vectors).max() < 1e-5
    # Some documents are several windows, and some windows several chunks.
    assert len(windows) > release.documents
    largest, _ = max(windows, key=lambda found: len(found[0]))
    assert len(largest) > 2

    # As after a run in which the model had no vector for one of its texts.
    table.delete_keys("text_hash", [largest[1]["text_hash"]])
    table.publish()
    more = Pipeline(tmp_path / "more", copied.data)
    more.source.mkdir()
    (more.source / "gate.txt").write_text("The gate closes the penstock. " * 40)
    succeeded, output = more.run(FOREBAY_RELEASE_MARGIN="1")
    assert succeeded, output
    assert copied.release.embedding == release.embedding
    after = {row["text_hash"]: row for row in table.published().to_table().to_pylist()}
    new = [row["text_hash"] for window, _ in _windows(copied, release.embedding) for row in window]
    assert after.keys() == set(new) > made.keys()
    again = after.pop(largest[1]["text_hash"])
    assert again["run_id"] != made[again["text_hash"]]["run_id"]
    assert np.abs(np.array(again["vector"]) - made[again["text_hash"]]["vector"]).max() < 1e-5
    assert {key: row for key, row in after.items() if key in made} == {
        key: row for key, row in made.items() if key != again["text_hash"]
    }


@pytest.mark.parametrize(
    ("model_name", "message"),
    [("package:no-such-model", "no packaged model is called"), ("no/such-model", "neither a folder nor in the cache")],
)
def test_an_unknown_model_is_one_sentence(copied, model_name, message):
    status, output = _reembed(copied, model_name, "--dry-run", HF_HUB_OFFLINE="1")
    assert status == 1
    assert message in output
    assert "Traceback" not in output


def test_a_folder_that_is_no_model_is_one_sentence(copied, tmp_path):
    (tmp_path / "empty").mkdir()
    status, output = _reembed(copied, tmp_path / "empty", "--dry-run")
    assert status == 1
    assert "is no sentence-transformers model" in output
    assert "Traceback" not in output


def test_without_a_corpus_there_is_nothing_to_embed(copied, tmp_path, model):
    status, output = _reembed(copied, model, FOREBAY_DATA=str(tmp_path / "nothing"))
    assert status == 1
    assert "there is no corpus yet" in output
    assert not os.path.exists(tmp_path / "nothing" / "tables")
