import base64
import io
import json
import os
import pickle
import sys

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer

from forebay.documents import RejectionReason
from forebay.errors import ConfigurationError
from forebay.sources.contract import Record, UnreadableError
from forebay.sources.object_store import ObjectStoreSource
from forebay.sources.records import records_of


@pytest.fixture(scope="module")
def server():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def store(server, monkeypatch, tmp_path_factory):
    """A bucket of S3 that is found by nothing but the standard variables."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path_factory.mktemp("aws") / "none"))
    s3 = fsspec.filesystem("s3", skip_instance_cache=True)
    if s3.exists("bucket"):
        s3.rm("bucket", recursive=True)
    s3.mkdir("bucket")
    return s3


def listed(name="s3://bucket/folder"):
    return {unit.uri: unit for unit in ObjectStoreSource(name).changes().units}


def test_objects_below_the_prefix_are_listed_and_read(store):
    store.pipe("bucket/folder/a.txt", b"alpha")
    store.pipe("bucket/folder/sub/b.md", b"# beta")
    store.pipe("bucket/folder/c.bin", b"x")
    store.pipe("bucket/folder-2/other.txt", b"not below")
    units = listed()
    assert {uri: unit.format for uri, unit in units.items()} == {
        "a.txt": "text",
        "sub/b.md": "markdown",
        "c.bin": "unsupported",
    }
    source = pickle.loads(pickle.dumps(ObjectStoreSource("s3://bucket/folder/")))
    assert source.name == "s3://bucket/folder"
    assert list(source.read(units["sub/b.md"], 100)) == [Record("sub/b.md", 0, b"# beta", "markdown")]
    (refused,) = source.read(units["c.bin"], 100)
    assert refused.reason == RejectionReason.UNSUPPORTED_FORMAT
    (refused,) = source.read(units["a.txt"], 4)
    assert refused.reason == RejectionReason.TOO_LARGE


def test_hidden_objects_folder_markers_and_golden_questions_are_no_documents(store):
    for key in ("a.txt", ".hidden.txt", ".git/config.txt", "sub/.x/y.txt", "queries.jsonl", "qrels.tsv"):
        store.pipe(f"bucket/folder/{key}", b"{}")
    store.call_s3("put_object", Bucket="bucket", Key="folder/empty/", Body=b"")
    assert list(listed()) == ["a.txt"]


def test_one_object_and_a_whole_bucket_are_sources_too(store):
    store.pipe("bucket/folder/a.md", b"x")
    assert list(listed("s3://bucket/folder/a.md")) == ["a.md"]
    assert list(listed("s3://bucket")) == ["folder/a.md"]


def test_names_with_control_characters_are_printable(store):
    store.pipe("bucket/folder/a\tb.txt", b"x")
    (unit,) = listed().values()
    assert unit.uri == "a\\tb.txt"
    assert [record.data for record in ObjectStoreSource("s3://bucket/folder").read(unit, 9)] == [b"x"]


def test_the_version_is_the_etag_and_the_cursor_follows_it(store):
    store.pipe("bucket/folder/a.txt", b"one")
    source = ObjectStoreSource("s3://bucket/folder")
    before = source.changes()
    # MD5 of "one".
    assert [unit.version for unit in before.units] == ["3-f97c5d29941bfb1b2fdab0874906ab82"]
    assert source.changes().cursor == before.cursor
    store.pipe("bucket/folder/a.txt", b"two")
    after = source.changes()
    assert after.cursor != before.cursor
    assert after.is_snapshot


def test_rows_of_jsonl_and_parquet_objects_become_records(store):
    store.pipe("bucket/folder/a.jsonl", b'{"text": "one"}\n\n{"text": "two"}\n')
    file = io.BytesIO()
    pq.write_table(pa.table({"text": ["three"]}), file)
    store.pipe("bucket/folder/b.parquet", file.getvalue())
    source = ObjectStoreSource("s3://bucket/folder")
    units = listed()
    assert [(record.uri, record.data) for record in source.read(units["a.jsonl"], 100)] == [
        ("a.jsonl#L1", b'{"text": "one"}'),
        ("a.jsonl#L3", b'{"text": "two"}'),
    ]
    assert [json.loads(record.data) for record in source.read(units["b.parquet"], 100)] == [{"text": "three"}]


def test_an_object_that_is_gone_is_unreadable(store):
    store.pipe("bucket/folder/a.txt", b"x")
    (unit,) = listed().values()
    store.rm("bucket/folder/a.txt")
    with pytest.raises(UnreadableError, match="gone") as caught:
        list(ObjectStoreSource("s3://bucket/folder").read(unit, 100))
    assert caught.value.reason == RejectionReason.UNREADABLE


@pytest.mark.parametrize("size", [5, 9 * 2**20])
def test_an_object_that_is_replaced_while_it_is_read_yields_nothing(store, monkeypatch, size):
    store.pipe("bucket/folder/a.txt", b"a" * size)
    (unit,) = listed().values()

    def replace_midway(unit, stream, max_bytes):
        stream.read(1)
        store.pipe("bucket/folder/a.txt", b"b" * size)
        return records_of(unit, stream, max_bytes)

    monkeypatch.setattr("forebay.sources.records.records_of", replace_midway)
    with pytest.raises(UnreadableError) as caught:
        next(ObjectStoreSource("s3://bucket/folder").read(unit, 2**24))
    assert caught.value.reason == RejectionReason.CHANGED_WHILE_READ


def test_ranges_of_an_object_that_is_replaced_between_them_are_refused(store, monkeypatch):
    monkeypatch.setattr("forebay.sources.formats._RANGE_BYTES", 20)
    store.pipe("bucket/folder/a.jsonl", b'{"text": "one"}\n' * 3)
    source = ObjectStoreSource("s3://bucket/folder")
    first, *others = source.changes().units
    assert [record.data for record in source.read(first, 100)] == [b'{"text": "one"}'] * 2
    store.pipe("bucket/folder/a.jsonl", b'{"text": "two"}\n' * 3)
    for unit in others:
        with pytest.raises(UnreadableError) as caught:
            list(source.read(unit, 100))
        assert caught.value.reason == RejectionReason.CHANGED_WHILE_READ


def parquet(texts, **options):
    file = io.BytesIO()
    pq.write_table(pa.table({"text": texts}), file, **options)
    return file.getvalue()


def test_a_parquet_object_is_read_piece_by_piece(store):
    """32 row groups of 1 MB that doesn't compress; of the first ones' rows, the object's end is not needed."""
    texts = [base64.b64encode(os.urandom(768)).decode() for _ in range(32 * 1024)]
    store.pipe("bucket/folder/a.parquet", parquet(texts, row_group_size=1024))
    (unit,) = listed().values()
    records = ObjectStoreSource("s3://bucket/folder").read(unit, 2000)
    first = [next(records) for _ in range(1024)]
    assert [json.loads(record.data)["text"] for record in first] == texts[:1024]
    store.pipe("bucket/folder/a.parquet", parquet(["new"]))
    with pytest.raises(UnreadableError) as caught:
        first.extend(records)
    assert caught.value.reason == RejectionReason.CHANGED_WHILE_READ
    # What was read before is of the old object, and not a mixture.
    assert [json.loads(record.data)["text"] for record in first if isinstance(record, Record)] == texts[: len(first)]


@pytest.mark.parametrize("name", ["s3://bucket/nothing-here", "s3://no-such-bucket/folder"])
def test_an_address_with_nothing_is_a_named_error(store, name):
    with pytest.raises(ConfigurationError, match=name):
        ObjectStoreSource(name).changes()


def test_an_emptied_bucket_is_empty(store):
    assert list(ObjectStoreSource("s3://bucket").changes().units) == []


def test_a_store_that_does_not_answer_is_a_named_error(store, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr("s3fs.S3FileSystem.retries", 1)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    try:
        with pytest.raises(ConfigurationError, match="can't be listed"):
            ObjectStoreSource("s3://bucket/folder").changes()
    finally:
        fsspec.get_filesystem_class("s3").clear_instance_cache()


@pytest.mark.parametrize("name", ["s3://key:secret@bucket/folder", "s3://key:se/cret@bucket", "gs://u:secret@b"])
def test_credentials_in_the_name_are_refused_and_not_repeated(name):
    with pytest.raises(ConfigurationError, match="credentials") as caught:
        ObjectStoreSource(name)
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "module", "package"),
    [("gs://bucket/folder", "gcsfs", r"forebay\[gcs\]"), ("abfs://box@account/folder", "adlfs", "adlfs")],
)
def test_a_missing_package_is_named(monkeypatch, name, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigurationError, match=f"install {package}"):
        ObjectStoreSource(name).changes()


def test_a_store_that_tells_no_versions_is_refused(monkeypatch):
    fsspec.filesystem("memory").pipe("/here/a.txt", b"x")
    source = ObjectStoreSource("memory://here")
    assert [unit.uri for unit in source.changes().units] == ["a.txt"]
    found = {"/here/a.txt": {"type": "file", "size": 1}}
    monkeypatch.setattr("fsspec.implementations.memory.MemoryFileSystem.find", lambda *args, **kwargs: found)
    with pytest.raises(ConfigurationError, match="neither an ETag nor a time"):
        source.changes()
