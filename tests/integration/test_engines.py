"""Another engine finds what the model finds in fp32: the sample corpus, searched exactly."""

import json
from pathlib import Path

import ir_measures
import numpy as np
import pytest
from ir_measures import nDCG

from forebay.chunks import embedded_text
from forebay.embedding.choice import candidate_specs, resolve_spec
from forebay.embedding.sentence_transformer import load_embedder
from forebay.golden import GoldenQuestions
from forebay.models import model_folder
from forebay.settings import EmbeddingSettings, PathSettings
from forebay.tables import chunk_table, embedding_table
from tests.altered_model import write_shallow_model
from tests.pipeline import Pipeline
from tests.torn_model import write_torn_model

pytestmark = pytest.mark.integration

_SAMPLE = Path(__file__).resolve().parents[2] / "samples" / "cranfield"
# nDCG@10 of sentence-transformers' own vectors in fp32 (6.2.0, torch 2.13.0), searched and measured as below.
_IN_FP32 = 0.3744
_MAX_DIFFERENCE = 0.003
_PATHS = PathSettings()
_SPECS = {
    f"{spec.engine}-{spec.precision}": spec
    for spec in candidate_specs(EmbeddingSettings(), model_folder(EmbeddingSettings().model, _PATHS.models))
}


def _ndcg10(way):
    embedder = load_embedder(_SPECS[way], _PATHS.models)
    golden = GoldenQuestions.load(_SAMPLE / "queries.jsonl", _SAMPLE / "qrels.tsv")
    documents = [json.loads(line) for line in (_SAMPLE / "corpus.jsonl").read_text("utf-8").splitlines()]
    vectors = embedder.embed_documents([embedded_text(row["title"], "", row["text"]) for row in documents])
    scores = embedder.embed_queries(list(golden.queries.values())) @ vectors.T
    found = [
        ir_measures.ScoredDoc(query_id, documents[position]["_id"], float(row[position]))
        for query_id, row in zip(golden.queries, scores, strict=True)
        for position in np.argsort(-row)[:10]
    ]
    judged = [
        ir_measures.Qrel(query_id, doc_id, grade)
        for query_id, grades in golden.qrels.items()
        for doc_id, grade in grades.items()
    ]
    return ir_measures.calc_aggregate([nDCG @ 10], judged, found)[nDCG @ 10]


# In fp32 the vectors are the same to a cosine of 0.99999 (tests/contract/test_embedders.py).
@pytest.mark.parametrize("way", [way for way in _SPECS if not way.endswith("-fp32")])
def test_an_engine_ranks_as_well_as_the_model_in_fp32(way):
    assert _ndcg10(way) == pytest.approx(_IN_FP32, abs=_MAX_DIFFERENCE)


def test_a_text_without_a_vector_fails_the_run_by_name_and_no_other_text_is_lost(tmp_path):
    model = write_torn_model(tmp_path / "model", "turbine")
    pipeline = Pipeline(tmp_path / "source", tmp_path / "data")
    pipeline.source.mkdir()
    for name in ("wing", "turbine", "flow"):
        (pipeline.source / f"{name}.txt").write_text(f"A {name} in a wind tunnel.")
    # Named, so that nothing is calibrated with a broken model.
    named = {"FOREBAY_EMBEDDING_MODEL": str(model), "FOREBAY_EMBEDDING_ENGINE": "torch"}
    succeeded, output = pipeline.run(**named, FOREBAY_EMBEDDING_PRECISION="fp32")
    assert not succeeded
    assert "has no vector for 1 of 3 texts" in output
    assert "'A turbine in a wind tunnel.'" in output
    settings = EmbeddingSettings(model=str(model), engine="torch", precision="fp32")
    (spec,) = candidate_specs(settings, model)
    assert embedding_table(pipeline.paths.tables, spec).published_rows() == 2
    assert chunk_table(pipeline.paths.tables).published_rows() == 3
    assert pipeline.release_id is None


def test_a_model_that_takes_little_gets_short_chunks_and_static_vectors_where_that_is_named(tmp_path):
    # Of one layer, for it is distilled here.
    model = write_shallow_model(tmp_path / "model", layers=1, max_tokens=48)
    pipeline = Pipeline(tmp_path / "source", tmp_path / "data")
    pipeline.source.mkdir()
    rows = [json.loads(line) for line in (_SAMPLE / "corpus.jsonl").read_text("utf-8").splitlines()[:12]]
    for row in rows:
        (pipeline.source / f"{row['_id']}.txt").write_text(row["text"])
    home = {"FOREBAY_HOME": str(tmp_path / "home")}
    (tmp_path / "home").mkdir()
    # Spark starts quicker with it.
    (tmp_path / "home" / "jvm").symlink_to(_PATHS.home.absolute() / "jvm")
    succeeded, output = pipeline.run(**home, FOREBAY_EMBEDDING_MODEL=str(model), FOREBAY_EMBEDDING_ENGINE="static")
    assert succeeded, output
    lengths = chunk_table(pipeline.paths.tables).newest().to_table(columns=["n_tokens"])["n_tokens"].to_pylist()
    assert len(lengths) > len(rows)
    assert max(lengths) <= 46
    paths = PathSettings(home=tmp_path / "home", data=pipeline.data)
    spec = resolve_spec(EmbeddingSettings(model=str(model), engine="static"), paths)
    held = embedding_table(paths.tables, spec).newest().to_table(columns=["vector"])["vector"].to_pylist()
    assert {len(vector) for vector in held} == {256}
