import pytest

from forebay.settings import IndexSettings
from forebay.testing import HashEmbedder
from spark_jobs.load_index.transforms import shard_identity


def _identity(store, **settings):
    return shard_identity(HashEmbedder().spec, IndexSettings(store=store, **settings), None)


@pytest.mark.parametrize("store", ["embedded", "weaviate"])
@pytest.mark.parametrize(
    "changed",
    [
        {"bm25_language": "german"},
        {"bm25_language": "english"},
        {"bm25_fallback_language": "german"},
        {"bm25_b": 0.5},
        {"hnsw_m": 32},
    ],
)
def test_a_change_of_what_makes_a_shard_is_another_identity(store, changed):
    assert _identity(store, **changed) != _identity(store)


@pytest.mark.parametrize("store", ["embedded", "weaviate"])
def test_a_fallback_that_does_nothing_is_no_other_identity(store):
    fixed = {"bm25_language": "german"}
    assert _identity(store, **fixed, bm25_fallback_language="french") == _identity(store, **fixed)
