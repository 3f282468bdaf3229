import pytest

from bentos.retriever.problems import describe_failure
from forebay.errors import ConfigurationError, ModelError, ReleaseError
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


def _from(message, cause):
    try:
        raise ReleaseError(message) from cause
    except ReleaseError as exc:
        return exc


@pytest.mark.parametrize("opener", [open_index, lambda *where: SearchProcesses(*where, 1)])
def test_a_damaged_shard_is_named_without_the_folders_above_it(tmp_path, opener):
    paths = PathSettings(data=tmp_path / "private")
    manifest = build_release(paths.shards, [("d", "", "text", {})], HashEmbedder(), shards=1)
    shard = paths.shards / manifest.shards[0].path
    (shard / "frequencies.npz").write_bytes(b"")
    said = describe_failure(manifest.release_id, _raised(opener, manifest, paths))
    reason = f"the file 'frequencies.npz' of the index shard {shard.name} was cut, changed or removed."
    assert said == f"Release {manifest.release_id} can't be opened: {reason}"


def test_a_manifest_that_is_gone_or_damaged_is_told(tmp_path):
    registry = ReleaseRegistry(tmp_path)
    gone = describe_failure("r1", _raised(registry.load, "r1"))
    assert gone == "Release r1 can't be opened: there is no release 'r1'; `forebay release list` shows them."
    (tmp_path / "r1.json").write_text("{}")
    damaged = describe_failure("r1", _raised(registry.load, "r1"))
    assert damaged.startswith("Release r1 can't be opened: the manifest r1.json is damaged; run the pipeline again")


def test_what_other_libraries_say_and_settings_and_addresses_stay_in_the_log():
    cause = OSError(5, "Input/output error", "/secret/place")
    said = describe_failure("r1", _from(f"release r1 can't be opened: {cause}", cause))
    assert said == "Release r1 can't be opened: the retriever's log says more."
    inner = _from(f"it fails: {cause}", cause)
    said = describe_failure("r1", _from(f"the shard /a/b is damaged: {inner}", inner))
    assert said == "Release r1 can't be opened: the shard b is damaged: it fails: the retriever's log says more."
    url = "http://weaviate.internal:8080/v1"
    said = describe_failure("r1", ReleaseError(f"Weaviate at {url!r} doesn't answer; start it."))
    assert said == "Release r1 can't be opened: Weaviate at its address doesn't answer; start it."
    said = describe_failure("r1", ConfigurationError("FOREBAY_WEAVIATE_URL is 'weaviate:1'."))
    assert said == "Release r1 can't be opened: a setting is wrong; the retriever's log says more."
    said = describe_failure("r1", ValueError("/secret"))
    assert said == "Release r1 can't be opened; the retriever's log says more."
