import math

import numpy as np
import pyarrow as pa
import pytest

from forebay.settings import IndexSettings
from forebay.store.bm25 import DocumentFrequencies
from forebay.store.bm25_terms import ChunkTerms, QuestionTerms
from forebay.store.contract import SearchMode, SearchRequest, ShardBase
from forebay.store.qdrant_edge import QdrantEdgeStore
from forebay.testing import HashEmbedder
from tests.releases import TEXTS_IN_LANGUAGES, build_release, rows_in_languages


def _open(root, shards, index):
    spec = HashEmbedder().spec
    manifest = build_release(root / "other", [("unused", "", "unused", {})], HashEmbedder(), index=index)
    manifest = manifest.model_copy(update={"shards": tuple(shards)})
    return QdrantEdgeStore(root, spec, index).open(manifest)


def _build(root, name, rows, index, base=None):
    return QdrantEdgeStore(root, HashEmbedder().spec, index).build_shard(
        0, name, [pa.RecordBatch.from_pylist(rows)] if rows else [], base
    )


def _found(release, question):
    request = SearchRequest(question, np.zeros(64, np.float32), 60, SearchMode.BM25)
    return {hit.doc_id: hit.score for hit in release.search([request])[0]}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    root, index = tmp_path_factory.mktemp("mixed"), IndexSettings()
    release = _open(root, [_build(root, "mixed", rows_in_languages(TEXTS_IN_LANGUAGES, HashEmbedder()), index)], index)
    yield release
    release.close()


@pytest.mark.parametrize("question", ["E-1234", "turbine", "turbine e_1234"])
def test_what_is_written_alike_weighs_the_same_in_every_language(mixed, question):
    found = _found(mixed, question)
    assert set(found) == {"de-haus", "en-house"}
    assert found["de-haus"] == pytest.approx(found["en-house"])


def test_a_chunk_counts_a_word_once():
    settings = IndexSettings()
    reader = ChunkTerms(settings)
    # English stems the first word to the second one.
    chunk = reader.read("Organisation organis", "de")
    english = reader.read("organisation", "en")
    frequencies = DocumentFrequencies.count([chunk, english])
    question = QuestionTerms(settings, frequencies, {"de": 1, "en": 1}).read("Organisation")
    assert len(set(question.indices) & set(chunk.indices)) == 1
    assert len(set(question.indices) & set(english.indices)) == 1


def _weights(chunks, question):
    """Ask a release of empty chunks, so many of each language, but for those with a text."""
    settings = IndexSettings()
    reader = ChunkTerms(settings)
    vectors = [reader.read(text, language) for language, texts in chunks.items() for text in texts]
    counts = {language: len(texts) for language, texts in chunks.items()}
    read = QuestionTerms(settings, DocumentFrequencies.count(vectors), counts).read(question)
    return sorted(round(value, 5) for value in read.values)


def _idf(n, chunks):
    return round(math.log(1 + (chunks - n + 0.5) / (n + 0.5)), 5)


def test_a_word_weighs_by_its_chunks_in_all_languages():
    chunks = {"de": ["Berlin", "Berlin", *[""] * 6], "en": ["berlin", ""], "pl": ["", ""]}
    assert _weights(chunks, "Berlin") == [_idf(3, 12)] * 2


def test_a_stop_word_of_a_language_counts_with_all_of_its_chunks():
    chunks = {"de": [""] * 6, "en": ["they die", "die hard", "", ""]}
    assert _weights(chunks, "die") == [_idf(6 + 2, 10)]
    assert _weights(chunks, "und die und") == [_idf(6 + 2, 10)]


def test_words_with_one_stem_weigh_as_the_more_frequent():
    chunks = {"en": ["runs", "", "", ""], "pl": ["running", "running", "runs", ""]}
    # "run" in English, two terms in Polish: "running" is in 1 + 2 chunks, "runs" in 1 + 1.
    assert _weights(chunks, "runs running") == sorted([_idf(3, 8), _idf(3, 8), _idf(2, 8)])


def test_a_corpus_of_one_language_is_found_as_with_that_language_alone(tmp_path):
    texts = {f"d{n}": ("en", f"turbine {n % 7} runs with water of river number {n}") for n in range(40)}
    found = {}
    for language in ("document", "english"):
        index = IndexSettings(bm25_language=language)
        release = _open(tmp_path, [_build(tmp_path, language, rows_in_languages(texts, HashEmbedder()), index)], index)
        found[language] = [_found(release, question) for question in ("running turbines 3", "the river", "number 12")]
        release.close()
    assert [len(hits) for hits in found["document"]] == [40, 40, 40]
    assert [pytest.approx(hits) for hits in found["document"]] == found["english"]


def test_a_shard_made_from_an_earlier_one_weighs_words_like_one_made_anew(tmp_path):
    index, texts = IndexSettings(), TEXTS_IN_LANGUAGES
    rows = {row["doc_id"]: row for row in rows_in_languages(texts, HashEmbedder())}
    changed = {
        **TEXTS_IN_LANGUAGES,
        "de-haus": ("en", "the old house of the river"),
        "neu": ("de", "die Häuser der Stadt"),
    }
    del changed["de-strom"]
    after = {row["doc_id"]: row for row in rows_in_languages(changed, HashEmbedder())}
    base = _build(tmp_path, "before", list(rows.values()), index)
    removed = [rows[doc_id]["chunk_id"] for doc_id in ("de-haus", "de-strom")]
    added = [after[doc_id] for doc_id in ("de-haus", "neu")]
    shards = {
        "from-base": _build(tmp_path, "from-base", added, index, ShardBase(base, removed)),
        "anew": _build(tmp_path, "anew", list(after.values()), index),
    }
    held, found = {}, {}
    for name, shard in shards.items():
        with np.load(tmp_path / shard.path / "frequencies.npz") as frequencies:
            held[name] = {key: frequencies[key].tolist() for key in frequencies.files}
        release = _open(tmp_path, [shard], index)
        found[name] = [_found(release, question) for question in ("Haus", "house river", "die E-1234", "Strom")]
        release.close()
    assert held["from-base"] == held["anew"]
    assert [pytest.approx(hits) for hits in found["from-base"]] == found["anew"]
    assert [set(hits) for hits in found["anew"]] == [{"neu"}, {"de-haus", "en-house"}, {"en-house"}, set()]


def test_releases_of_earlier_versions_keep_their_ids():
    constants = (
        '{"hnsw_m":16,"hnsw_ef_construct":128,"quantization":"int8","bm25_k":1.2,"bm25_b":0.75,'
        '"bm25_average_terms":100.0,"bm25_language":"english"'
    )
    assert IndexSettings(bm25_language="english").identity == constants + "}"
    # It has read words as they are written.
    assert IndexSettings(store="weaviate").identity == constants + ',"store":"weaviate"}'
    assert IndexSettings(bm25_fallback_language="german").identity != IndexSettings().identity


@pytest.mark.parametrize(
    "settings", [{"bm25_language": "klingon"}, {"bm25_language": "ja"}, {"bm25_fallback_language": "document"}]
)
def test_a_language_without_a_stemmer_is_refused(settings):
    with pytest.raises(ValueError, match=r"no stemmer for '(klingon|ja|document)'; use one of arabic.*turkish"):
        IndexSettings(**settings)
