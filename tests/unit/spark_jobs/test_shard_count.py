import pyarrow as pa
import pytest

from forebay.documents import DOCUMENTS
from forebay.errors import ConfigurationError
from forebay.settings import PathSettings
from forebay.tables import document_table
from spark_jobs.shard_count import require_shard_count


@pytest.fixture
def paths(tmp_path):
    return PathSettings(data=tmp_path / "data")


def test_a_folder_keeps_the_number_of_its_first_run(paths):
    require_shard_count(paths, 8)
    require_shard_count(paths, 8)
    for other in (4, 16):
        with pytest.raises(ConfigurationError, match=r"has 8 shards.*Set FOREBAY_CORPUS_SHARDS=8"):
            require_shard_count(paths, other)


def test_a_folder_of_an_earlier_version_shows_its_number_by_its_documents(paths):
    table = document_table(paths.tables)
    table.prepare("run")
    values = {field.name: "" for field in DOCUMENTS} | {"doc_id": "d", "shard": 7, "bands": [1], "metadata": "{}"}
    table.replace(pa.Table.from_pylist([values], schema=DOCUMENTS))
    table.publish()
    with pytest.raises(ConfigurationError, match="has 8 shards"):
        require_shard_count(paths, 4)
    require_shard_count(paths, 8)
    with pytest.raises(ConfigurationError, match="has 8 shards"):
        require_shard_count(paths, 9)
