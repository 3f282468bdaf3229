import subprocess
import sys

import pytest

from forebay.candidates import Candidate
from forebay.embedding.choice import candidate_specs
from forebay.models import model_folder
from forebay.settings import (
    ChunkSettings,
    CorpusSettings,
    DuplicateSettings,
    EmbeddingSettings,
    IndexSettings,
    PathSettings,
)
from orchestration import code_versions
from orchestration.code_versions import (
    chunks_version,
    documents_version,
    embeddings_version,
    index_version,
    model_identity,
)
from spark_jobs.chunk_documents import chunker
from spark_jobs.chunk_documents.chunker import chunker_fingerprint
from spark_jobs.parse_documents import reading
from spark_jobs.parse_documents.reading import parser_fingerprint


def versions(**changes):
    """The versions of documents, chunks, embeddings and index shards under some settings."""
    corpus = CorpusSettings(**changes.get("corpus", {}))
    embedding = EmbeddingSettings(**changes.get("embedding", {}))
    model = model_identity(embedding, PathSettings())
    return (
        documents_version(corpus, DuplicateSettings(**changes.get("duplicates", {}))),
        chunks_version(corpus, ChunkSettings(**changes.get("chunks", {})), model),
        embeddings_version(embedding, model),
        index_version(IndexSettings(**changes.get("index", {}))),
    )


@pytest.mark.parametrize(
    ("changes", "stale"),
    [
        ({"corpus": {"max_document_bytes": 1000}}, {"documents"}),
        ({"corpus": {"sources": ["/elsewhere"]}}, set()),
        ({"corpus": {"name": "other"}}, {"chunks"}),
        ({"duplicates": {"threshold": 0.9}}, {"documents"}),
        ({"chunks": {"max_tokens": 128}}, {"chunks"}),
        ({"embedding": {"precision": "bf16"}}, {"embeddings"}),
        ({"embedding": {"engine": "openvino"}}, {"embeddings"}),
        ({"embedding": {"engine": "late"}}, {"chunks", "embeddings"}),
        ({"embedding": {"model": "org/other"}}, {"chunks", "embeddings"}),
        ({"embedding": {"batch_tokens": 128, "commit_rows": 7}}, set()),
        ({"index": {"hnsw_m": 32}}, {"index_shards"}),
        ({"index": {"bm25_language": "german"}}, {"index_shards"}),
    ],
)
def test_a_change_concerns_the_tables_that_are_made_with_it(changes, stale):
    tables = ("documents", "chunks", "embeddings", "index_shards")
    pairs = zip(tables, versions(), versions(**changes), strict=True)
    assert {table for table, before, after in pairs if before != after} == stale


def test_a_new_parser_or_chunker_is_seen_by_dagster_and_by_the_spark_jobs(monkeypatch):
    def job_fingerprints():
        return parser_fingerprint(CorpusSettings()), chunker_fingerprint(ChunkSettings(), "model")

    seen, done = versions(), job_fingerprints()
    for module, name in ((code_versions, "PARSER_VERSION"), (reading, "PARSER_VERSION")):
        monkeypatch.setattr(module, name, "other")
    for module, name in ((code_versions, "CHUNKER_VERSION"), (chunker, "CHUNKER_VERSION")):
        monkeypatch.setattr(module, name, "other")
    assert [a != b for a, b in zip(seen, versions(), strict=True)] == [True, True, False, False]
    assert [a != b for a, b in zip(done, job_fingerprints(), strict=True)] == [True, True]


def test_a_local_model_is_known_by_its_files(tmp_path):
    settings = EmbeddingSettings(model=str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"1234")
    before = model_identity(settings, PathSettings())
    (tmp_path / "README.md").write_text("words")
    assert model_identity(settings, PathSettings()) == before
    (tmp_path / "model.safetensors").write_bytes(b"12345")
    assert model_identity(settings, PathSettings()) != before


def test_a_hub_model_is_known_by_the_revision_that_is_there(tmp_path):
    paths, settings = PathSettings(home=tmp_path), EmbeddingSettings(model="org/name")
    assert model_identity(settings, paths) == "org/name"
    reference = paths.models / "hub" / "models--org--name" / "refs" / "main"
    reference.parent.mkdir(parents=True)
    reference.write_text("abc")
    assert model_identity(settings, paths) == "org/name@abc"


def test_a_corpus_of_late_chunking_is_cut_for_it_without_being_told_again(tmp_path):
    settings = EmbeddingSettings(engine="late", precision="fp32")
    (late,) = candidate_specs(settings, model_folder(settings.model, PathSettings().models))
    paths = PathSettings(data=tmp_path)
    assert model_identity(EmbeddingSettings(), paths) != model_identity(settings, paths)
    Candidate(embedding=late, index=IndexSettings(), layout="1", shards={}, table_versions={}).save(paths.shards)
    assert model_identity(EmbeddingSettings(), paths) == model_identity(settings, paths)


def test_definitions_load_without_torch_kubernetes_or_spark():
    code = (
        "import sys, orchestration.definitions; "
        "heavy = {'torch', 'transformers', 'pyspark', 'kubernetes', 'dagster_k8s', 'spark_jobs'} & set(sys.modules); "
        "sys.exit(str(sorted(heavy)) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
