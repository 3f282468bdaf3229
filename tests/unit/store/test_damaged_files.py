"""Files of a shard that are damaged after it was sealed, before it is opened or while it is searched."""

import os
import shutil
import signal

import pytest

from forebay.errors import FilterError, ReleaseError
from forebay.settings import PathSettings
from forebay.store import search_processes
from forebay.store.contract import SearchRequest
from forebay.store.opening import open_index
from forebay.store.search_processes import SearchProcesses
from forebay.testing import HashEmbedder
from tests.releases import build_release

_EMBEDDER = HashEmbedder()
_PAYLOADS = "payload_storage/page_0.dat"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Gives a release and where its shards lie; nobody may change them."""
    paths = PathSettings(data=tmp_path_factory.mktemp("built"))
    documents = [(f"d{n}", f"Title {n}", f"wing study number{n}", {"n": n}) for n in range(50)]
    return build_release(paths.shards, documents, _EMBEDDER, shards=1), paths


@pytest.fixture
def manifest(built):
    return built[0]


@pytest.fixture
def paths(built, tmp_path):
    shutil.copytree(built[1].shards, tmp_path / "shards")
    return PathSettings(data=tmp_path)


def _request(text, **how):
    return SearchRequest(text, _EMBEDDER.embed_queries([text])[0], 3, **how)


def _overwrite(paths, pattern, byte):
    """Fill files with one byte, which leaves them as large as they were."""
    (first, *others) = paths.shards.rglob(pattern)
    for path in (first, *others):
        path.write_bytes(byte * path.stat().st_size)


@pytest.mark.parametrize(
    ("pattern", "byte"),
    [
        pytest.param(_PAYLOADS, b"\0", id="an exception of Qdrant's"),
        pytest.param("payload_storage/tracker.dat", b"\0", id="a payload that isn't there"),
        pytest.param("payload_storage/tracker.dat", b"\xff", id="a panic"),
    ],
)
def test_what_can_be_opened_but_not_searched_is_a_named_error(manifest, paths, pattern, byte):
    _overwrite(paths, pattern, byte)
    release = open_index(manifest, paths)
    problem = f"release {manifest.release_id} can't be searched"
    with pytest.raises(ReleaseError, match=problem):
        release.search([_request("wing")])
    with pytest.raises(ReleaseError, match=problem):
        release.explain(_request("wing"))
    # What is the caller's fault stays so.
    with pytest.raises(FilterError, match="colour"):
        release.search([_request("wing", where={"colour": "red"})])
    release.close()


def test_a_panic_while_a_release_is_opened_is_a_named_error(manifest, paths):
    _overwrite(paths, "*-doc_id-map/tracker.dat", b"\xff")
    with pytest.raises(ReleaseError, match=f"release {manifest.release_id} can't be opened"):
        open_index(manifest, paths)


@pytest.fixture
def started(monkeypatch):
    """Lists the processes that were started to search."""
    seen = []

    class Watched(search_processes._Process):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            seen.append(self)

    monkeypatch.setattr(search_processes, "_Process", Watched)
    return seen


def test_a_file_that_is_cut_while_it_is_searched_costs_one_process_until_it_is_whole_again(
    manifest, paths, built, started
):
    release = SearchProcesses(manifest, paths, 1)
    try:
        expected = release.search([_request("wing")])
        (page,) = paths.shards.rglob(_PAYLOADS)
        os.truncate(page, 0)
        for _ in range(20):
            with pytest.raises(ReleaseError, match=r"can't be replaced: the file '.*page_0.dat' of .* was cut"):
                release.search([_request("wing")])
        # The first was killed for reading what is no longer there; the second found the file too short.
        assert started[0]._process.exitcode == -signal.SIGBUS
        assert len(started) == 2
        shutil.copyfile(built[1].shards / page.relative_to(paths.shards), page)
        release._reopen_after_s = 0.0
        assert release.search([_request("wing")]) == expected
        assert len(started) == 3
    finally:
        release.close()


def test_a_cut_shard_leaves_a_process_that_still_answers_in_use(manifest, paths, started):
    release = SearchProcesses(manifest, paths, 2)
    try:
        expected = release.search([_request("wing")])
        started[0]._process.kill()
        started[0]._process.join()
        # Cut where the other one doesn't read any more.
        (seal,) = paths.shards.rglob("shard.json")
        os.truncate(seal, 0)
        with pytest.raises(ReleaseError, match="is missing or is not the one"):
            release.search([_request("wing")])
        for _ in range(5):
            assert release.search([_request("wing")]) == expected
        assert len(started) == 3
    finally:
        release.close()
