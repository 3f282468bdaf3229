import tempfile
import time
from pathlib import Path

import pytest
from qdrant_edge import CountRequest, Query, QueryRequest

from forebay.store.qdrant_build import DENSE
from forebay.store.qdrant_opening import open_together
from forebay.store.shard_files import verify
from forebay.testing import HashEmbedder
from tests.releases import build_release, chunk_rows

_DOCUMENTS = [(f"d{number}", f"title {number}", f"text {number}", {}) for number in range(30)]


@pytest.fixture
def release(tmp_path):
    manifest = build_release(tmp_path / "shards", _DOCUMENTS, HashEmbedder(8), shards=3)
    return manifest, [tmp_path / "shards" / ref.path for ref in manifest.shards]


def test_shards_that_are_opened_together_are_one_and_stay_as_they_were(release, tmp_path, monkeypatch):
    manifest, folders = release
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    one, other = (open_together(folders, threads) for threads in (1, 2))
    assert not list((tmp_path / "temporary").iterdir())
    ids = [row["chunk_id"] for row in chunk_rows(_DOCUMENTS, HashEmbedder(8))]
    for shard in (one, other):
        assert shard.count(CountRequest(exact=True)) == len(ids) == sum(ref.chunks for ref in manifest.shards)
        assert {str(record.id) for record in shard.retrieve(ids, with_payload=False, with_vector=False)} == set(ids)
        shard.close()
    for folder, ref in zip(folders, manifest.shards, strict=True):
        verify(folder, ref, contents=True)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_search_has_the_threads_that_it_is_given(release, threads):
    def searching():
        paths = Path("/proc/self/task").glob("*/comm")
        return {path for path in paths if path.read_text().startswith("edge-search")}

    _, folders = release
    # Those of a shard that was closed may still be ending.
    before = searching()
    shard = open_together(folders, threads)
    shard.query(QueryRequest(limit=1, query=Query.Nearest([1.0] * 8, using=DENSE)))
    # A thread has its name once it runs, which a busy machine may put off.
    deadline = time.monotonic() + 30
    while len(searching() - before) < threads and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(searching() - before) == threads
    shard.close()


def test_a_shard_alone_is_opened_in_the_same_way(release):
    _, folders = release
    shard = open_together(folders[:1], 1)
    assert 0 < shard.count(CountRequest(exact=True)) < len(_DOCUMENTS)
    shard.close()
