"""Google Cloud Storage through gcsfs, against a double of its API."""

import json
import pickle

import fsspec
import pytest
from fsspec.registry import _registry
from gcsfs.core import GCSFileSystem

from forebay.documents import RejectionReason
from forebay.errors import ConfigurationError
from forebay.sources.contract import Record, UnreadableError
from forebay.sources.registry import open_source
from tests.google_storage import google_storage

SOURCE = "gs://bucket/folder"


@pytest.fixture
def store(monkeypatch):
    with google_storage() as storage:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage.address)
        monkeypatch.setitem(fsspec.config.conf, "gs", {"token": "anon"})
        # Not the class that gcsfs registers: it first asks another service, over gRPC, which kind of bucket it is.
        monkeypatch.setitem(_registry, "gs", GCSFileSystem)
        GCSFileSystem.clear_instance_cache()
        yield storage
        GCSFileSystem.clear_instance_cache()


def test_objects_of_several_pages_are_listed_and_read(store):
    for name in ("a.txt", "b.md", "sub/c.jsonl", "sub/d.bin", ".hidden.txt"):
        store.put(f"folder/{name}", b'{"text": "x"}\n')
    store.put("folder-2/e.txt", b"not below")
    source = pickle.loads(pickle.dumps(open_source(SOURCE)))
    units = {unit.uri: unit for unit in source.changes().units}
    assert {uri: unit.format for uri, unit in units.items()} == {
        "a.txt": "text",
        "b.md": "markdown",
        "sub/c.jsonl": "jsonl",
        "sub/d.bin": "unsupported",
    }
    assert list(source.read(units["a.txt"], 100)) == [Record("a.txt", 0, b'{"text": "x"}\n', "text")]
    assert list(source.read(units["sub/c.jsonl"], 100)) == [Record("sub/c.jsonl#L1", 0, b'{"text": "x"}', "row")]


def test_the_version_is_the_generation(store):
    store.put("folder/a.txt", b"one")
    source = open_source(SOURCE)
    before = source.changes()
    assert [unit.version for unit in before.units] == ["3-1700000000000001"]
    assert source.changes() == before
    # As long, and at the same time, as far as the store tells it.
    store.put("folder/a.txt", b"two")
    assert source.changes().cursor != before.cursor


def test_what_is_replaced_or_gone_is_refused(store, monkeypatch):
    monkeypatch.setattr("forebay.sources.formats._RANGE_BYTES", 20)
    store.put("folder/a.jsonl", b'{"text": "one"}\n' * 3)
    source = open_source(SOURCE)
    first, second, _ = source.changes().units
    assert [json.loads(record.data) for record in source.read(first, 100)] == [{"text": "one"}] * 2
    store.put("folder/a.jsonl", b'{"text": "two"}\n' * 3)
    with pytest.raises(UnreadableError) as caught:
        list(source.read(second, 100))
    assert caught.value.reason == RejectionReason.CHANGED_WHILE_READ
    store.remove("folder/a.jsonl")
    with pytest.raises(UnreadableError, match="gone") as caught:
        list(source.read(first, 100))
    assert caught.value.reason == RejectionReason.UNREADABLE


@pytest.mark.parametrize("name", ["gs://bucket/nothing", "gs://no-such-bucket/folder"])
def test_an_address_with_nothing_is_a_named_error(store, name):
    with pytest.raises(ConfigurationError, match=name):
        open_source(name).changes()
