import numpy as np
import pyarrow as pa
import pytest

from forebay.tables import Table, embedding_schema
from quality.suites.embeddings import check_embeddings


@pytest.mark.parametrize(
    ("texts", "different", "passed"),
    [
        # As of "Café" and "cafe", which a model without case and accents reads alike.
        (2, 1, True),
        (99, 1, True),
        # As of a table whose lines differ by their blanks.
        (100, 2, True),
        (100, 1, False),
    ],
)
def test_a_model_that_gives_all_of_many_texts_one_vector_is_found_out(tmp_path, texts, different, passed):
    schema = embedding_schema(16)
    table = Table(tmp_path / "embeddings.lance", schema)
    table.prepare("r")
    vectors = np.random.default_rng(0).normal(size=(different, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = [{"text_hash": str(number), "vector": vectors[number % different], "run_id": "r"} for number in range(texts)]
    table.append(pa.Table.from_pylist(rows, schema))
    outcomes = check_embeddings(table, missing=0, duplicates=0, run_id="r", docs=tmp_path / "quality")
    verdicts = {outcome.name: outcome.passed for outcome in outcomes}
    assert verdicts.pop("vectors_differ") is passed
    assert all(verdicts.values())
