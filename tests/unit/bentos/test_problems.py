import pickle

import pytest

from bentos.retriever.problems import describe_failure
from forebay.errors import ModelError, ReleaseError
from forebay.releases import ReleaseRegistry
from forebay.settings import PathSettings
from forebay.store.opening import open_index
from forebay.store.search_processes import SearchProcesses
from forebay.testing import HashEmbedder
from tests.releases import build_release


def _raised(function, *arguments):
    with pytest.raises((ReleaseError, ModelError)) as caught:
        function(*arguments)
    return caught.value


@pytest.fixture(params=[open_index, lambda *where: SearchProcesses(*where, 1)], ids=["here", "in processes"])
def fail(request, tmp_path):
    """Gives what is said of a release after harm was done to its shard."""
    paths = PathSettings(data=tmp_path / "private")
    manifest = build_release(paths.shards, [("d", "", "text", {})], HashEmbedder(), shards=1)

    def failed(harm):
        shard = paths.shards / manifest.shards[0].path
        harm(shard)
        said = describe_failure(manifest.release_id, _raised(request.param, manifest, paths))
        start, end = f"Release {manifest.release_id} can't be opened: ", "; the retriever's log says more."
        assert said.startswith(start)
        assert said.endswith(end)
        return said.removeprefix(start).removesuffix(end), shard.name

    return failed


def test_a_damaged_shard_is_named_without_the_folders_above_it(fail):
    said, shard = fail(lambda folder: (folder / "frequencies.npz").write_bytes(b""))
    assert said == f"the file 'frequencies.npz' of the index shard {shard} was cut, changed or removed"


def test_what_qdrant_says_stays_in_the_log(fail):
    def harm(folder):
        (segment,) = (folder / "segments").glob("*/segment.json")
        segment.write_bytes(bytes(segment.stat().st_size))

    assert fail(harm)[0] == "its index is damaged"


def test_a_manifest_that_is_gone_or_damaged_is_told(tmp_path):
    registry = ReleaseRegistry(tmp_path)
    gone = describe_failure("r1", _raised(registry.load, "r1"))
    assert gone == "Release r1 can't be opened: there is no such release; the retriever's log says more."
    (tmp_path / "r1.json").write_text("{}")
    damaged = describe_failure("r1", _raised(registry.load, "r1"))
    assert damaged == "Release r1 can't be opened: its manifest is damaged; the retriever's log says more."


@pytest.mark.parametrize("error", [ReleaseError("/secret/place"), ValueError("/secret/place")])
def test_an_error_that_gives_nothing_away_is_left_to_the_log(error):
    assert describe_failure("r1", error) == "Release r1 can't be opened; the retriever's log says more."


def test_what_anybody_may_read_of_an_error_comes_back_from_another_process():
    error = pickle.loads(pickle.dumps(ReleaseError("the folder /secret is gone", public="a folder is gone")))
    assert (str(error), error.public) == ("the folder /secret is gone", "a folder is gone")
