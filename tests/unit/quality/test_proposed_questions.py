import json

import dagster as dg
import pyarrow as pa
import pytest

from forebay.chunks import CHUNKS
from forebay.errors import DataError
from forebay.golden import GoldenQuestions
from forebay.settings import PathSettings
from forebay.tables import chunk_table
from orchestration.defs.proposals import proposed_questions
from quality.proposed_questions import propose_questions, proposed, save_proposed
from tests.pipeline import ROOT


def _passages(n=100):
    rows = (ROOT / "samples" / "cranfield" / "corpus.jsonl").read_text("utf-8").splitlines()[:n]
    return [(row["_id"], row["text"]) for row in map(json.loads, rows)]


def _write(paths, passages):
    table = chunk_table(paths.tables)
    table.prepare()
    empty = {field.name: None if pa.types.is_integer(field.type) else "" for field in CHUNKS}
    numbers = {field.name: 0 for field in CHUNKS if pa.types.is_integer(field.type)}
    rows = [
        {**empty, **numbers, "chunk_id": str(n), "doc_id": doc_id, "text": text}
        for n, (doc_id, text) in enumerate(passages)
    ]
    table.replace(pa.Table.from_pylist(rows, schema=CHUNKS))
    table.publish()
    return table


def test_a_question_is_of_words_of_its_document_that_few_others_have():
    passages = _passages()
    found = proposed(passages, 30, seed=1)
    assert len(found.queries) == len(found.qrels) == 30
    texts = {doc_id: text.lower() for doc_id, text in passages}
    for name, question in found.queries.items():
        ((doc_id, grade),) = found.qrels[name].items()
        assert grade == 1
        assert 3 <= len(question.split()) <= 6
        for word in question.split():
            assert word in texts[doc_id]
            assert sum(word in text.split() for text in texts.values()) <= 10


def test_no_document_is_asked_for_twice_and_the_same_seed_gives_the_same_questions():
    passages = [*_passages(40), *_passages(40)]
    found = proposed(passages, 60, seed=3)
    documents = [doc_id for grades in found.qrels.values() for doc_id in grades]
    assert len(documents) == len(set(documents)) <= 40
    assert proposed(passages, 60, seed=3) == found
    assert proposed(passages, 60, seed=4) != found


def test_passages_without_words_of_their_own_make_no_question():
    assert proposed([("a", "the same words"), ("b", "1234 5678"), ("c", "")], 5, seed=1).queries == {}


def test_what_is_written_can_be_evaluated_and_says_that_it_is_synthetic(tmp_path):
    found = proposed(_passages(), 10, seed=1)
    save_proposed(found, tmp_path)
    assert GoldenQuestions.load(tmp_path / "queries.jsonl", tmp_path / "qrels.tsv") == found
    lines = (tmp_path / "queries.jsonl").read_text("utf-8").splitlines()
    assert all(json.loads(line)["metadata"] == {"synthetic": True} for line in lines)


def test_the_asset_writes_them_beside_the_golden_questions_and_not_as_them(tmp_path, monkeypatch):
    monkeypatch.setenv("FOREBAY_DATA", str(tmp_path))
    _write(PathSettings(), _passages())
    result = dg.materialize(
        [proposed_questions], run_config={"ops": {"proposed_questions": {"config": {"questions": 7}}}}
    )
    (made,) = result.asset_materializations_for_node("proposed_questions")
    assert made.metadata["questions"].value == 7
    assert "synthetic" in made.metadata["first"].value
    assert len((tmp_path / "golden-proposed" / "queries.jsonl").read_text("utf-8").splitlines()) == 7
    assert not (tmp_path / "golden").exists()


def test_an_empty_corpus_is_a_sentence(tmp_path):
    paths = PathSettings(data=tmp_path)
    with pytest.raises(DataError, match="no published chunks yet"):
        propose_questions(chunk_table(paths.tables), 10, 1)
    with pytest.raises(DataError, match="words of its own"):
        propose_questions(_write(paths, [("a", "too few words")]), 10, 1)
