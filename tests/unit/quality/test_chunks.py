import pyarrow as pa
import pytest

from forebay.chunks import CHUNKS
from forebay.tables import chunk_table
from quality.suites.chunks import CHUNK_METRICS, check_chunks


@pytest.mark.parametrize(("n_tokens", "passed"), [(0, True), (250, True), (251, False)])
def test_a_chunk_fits_the_model_however_little_the_model_reads_of_it(tmp_path, n_tokens, passed):
    table = chunk_table(tmp_path)
    table.prepare("r")
    row = {field.name: "x" if pa.types.is_string(field.type) else 1 for field in CHUNKS}
    table.append(pa.Table.from_pylist([row | {"n_tokens": n_tokens, "run_id": "r"}], CHUNKS))
    outcomes = check_chunks(
        table,
        dict.fromkeys(CHUNK_METRICS, 0),
        duplicate_ids=0,
        documents_without_chunks=0,
        run_id="r",
        max_tokens=250,
        docs=tmp_path / "quality",
    )
    verdicts = {outcome.name: outcome.passed for outcome in outcomes}
    assert verdicts.pop("chunks_fit_the_model") is passed
    assert all(verdicts.values())
