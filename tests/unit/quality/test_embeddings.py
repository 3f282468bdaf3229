import numpy as np
import pyarrow as pa
import pytest

from forebay.chunks import CHUNKS
from forebay.models import model_folder
from forebay.settings import EmbeddingSettings, PathSettings
from forebay.tables import Table, embedding_schema
from quality.suites.embeddings import check_embeddings

_MODEL = model_folder(EmbeddingSettings().model, PathSettings().models)
_RUN = "r"


def _words(number):
    return f"Pump {number}"


def _blanks(number):
    return "Pump" + " " * number + "seven"


def _unseen(number):
    return "Pump " + "\u200b\u2060\n\t" * number + "seven"


def _accents(number):
    return "".join("éeE"[number // 3**place % 3] for place in range(6))


def _repetitions(number):
    return "pump " * (number + 1)


def _chunks(folder, texts):
    table = Table(folder / "chunks.lance", CHUNKS)
    table.prepare(_RUN)
    empty = {field.name: 0 if pa.types.is_integer(field.type) else "" for field in CHUNKS}
    rows = [{**empty, "text": text, "text_hash": str(number)} for number, text in enumerate(texts)]
    table.append(pa.Table.from_pylist(rows, CHUNKS))
    table.publish()
    return table


def _embeddings(folder, n_texts, n_vectors):
    schema = embedding_schema(16)
    table = Table(folder / "embeddings.lance", schema)
    table.prepare(_RUN)
    vectors = np.random.default_rng(0).normal(size=(n_vectors, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = [
        {"text_hash": str(number), "vector": vectors[number % n_vectors], "run_id": _RUN} for number in range(n_texts)
    ]
    table.append(pa.Table.from_pylist(rows, schema))
    return table


def _verdicts(folder, texts, n_vectors):
    tables = _embeddings(folder, len(texts), n_vectors), _chunks(folder, texts)
    outcomes = check_embeddings(*tables, _MODEL, missing=0, duplicates=0, run_id=_RUN, docs=folder / "quality")
    return {outcome.name: outcome.passed for outcome in outcomes}


@pytest.mark.parametrize(("n_texts", "n_vectors", "passed"), [(99, 1, True), (100, 2, True), (100, 1, False)])
def test_a_model_that_gives_all_of_many_texts_one_vector_is_found_out(tmp_path, n_texts, n_vectors, passed):
    verdicts = _verdicts(tmp_path, [_words(number) for number in range(n_texts)], n_vectors)
    assert verdicts.pop("vectors_differ") is passed
    assert all(verdicts.values())


@pytest.mark.parametrize("text", [_blanks, _unseen, _accents, _repetitions])
def test_many_texts_that_the_model_reads_alike_may_have_one_vector(tmp_path, text):
    texts = [text(number) for number in range(200)]
    assert len(set(texts)) == 200
    assert all(_verdicts(tmp_path, texts, 1).values())


def test_texts_that_are_read_alike_hide_no_broken_model(tmp_path):
    texts = [_blanks(number) for number in range(200)] + [_words(number) for number in range(100)]
    assert not _verdicts(tmp_path, texts, 1)["vectors_differ"]


def test_the_title_and_the_headings_are_read_too(tmp_path):
    chunks = _chunks(tmp_path, [])
    empty = {field.name: 0 if pa.types.is_integer(field.type) else "" for field in CHUNKS}
    rows = [{**empty, "text": "a", "title": _words(number), "text_hash": str(number)} for number in range(100)]
    chunks.append(pa.Table.from_pylist(rows, CHUNKS))
    chunks.publish()
    outcomes = check_embeddings(
        _embeddings(tmp_path, 100, 1), chunks, _MODEL, missing=0, duplicates=0, run_id=_RUN, docs=tmp_path / "quality"
    )
    assert [outcome.name for outcome in outcomes if not outcome.passed] == ["vectors_differ"]
