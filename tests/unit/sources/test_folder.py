import base64
import errno
import io
import json
import os
import pickle
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forebay.documents import RejectionReason
from forebay.errors import ConfigurationError
from forebay.sources import formats
from forebay.sources.contract import Record, UnreadableError
from forebay.sources.folder import FolderSource
from forebay.sources.formats import units_of_file
from forebay.sources.records import records_of


def listed(folder):
    return {unit.uri: unit for unit in FolderSource(folder).changes().units}


def read(folder, uri, max_bytes=1000):
    return list(FolderSource(folder).read(listed(folder)[uri], max_bytes))


def test_files_are_listed_with_their_format(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("a.txt", "sub/b.md", "c.HTML", "d.jsonl", "e.exe", "f.parquet"):
        (tmp_path / name).write_text("x")
    assert {uri: unit.format for uri, unit in listed(tmp_path).items()} == {
        "a.txt": "text",
        "sub/b.md": "markdown",
        "c.HTML": "html",
        "d.jsonl": "jsonl",
        "e.exe": "unsupported",
        "f.parquet": "parquet",
    }


def test_hidden_files_and_golden_questions_are_no_documents(tmp_path):
    (tmp_path / ".git").mkdir()
    (tmp_path / "sub").mkdir()
    for name in ("a.txt", ".hidden.txt", ".git/config.txt", "queries.jsonl", "qrels.tsv", "sub/queries.jsonl"):
        (tmp_path / name).write_text("x")
    assert list(listed(tmp_path)) == ["a.txt", "sub/queries.jsonl"]


def test_links_are_not_followed_and_loops_end(tmp_path):
    (tmp_path / "source" / "sub").mkdir(parents=True)
    (tmp_path / "source" / "a.txt").write_text("x")
    (tmp_path / "outside.txt").write_text("x")
    (tmp_path / "source" / "link.txt").symlink_to(tmp_path / "outside.txt")
    (tmp_path / "source" / "dangling.txt").symlink_to(tmp_path / "nowhere")
    (tmp_path / "source" / "sub" / "up").symlink_to(tmp_path / "source")
    (tmp_path / "source" / "sub" / "self").symlink_to("self")
    os.mkfifo(tmp_path / "source" / "pipe.txt")
    assert list(listed(tmp_path / "source")) == ["a.txt"]


@pytest.mark.parametrize(
    ("name", "uri"),
    [(b"\xff.txt", "\\xff.txt"), (b"two\nlines.txt", "two\\nlines.txt"), (b"\x1b[31m.txt", "\\x1b[31m.txt")],
)
def test_names_that_can_not_be_shown_are_made_printable(tmp_path, name, uri):
    with open(os.fsencode(tmp_path) + b"/" + name, "wb") as stream:
        stream.write(b"x")
    assert list(listed(tmp_path)) == [uri]
    assert read(tmp_path, uri) == [Record(uri, 0, b"x", "text")]


def test_one_file_is_a_source_too(tmp_path):
    (tmp_path / "a.md").write_text("x")
    assert list(listed(tmp_path / "a.md")) == ["a.md"]
    assert read(tmp_path / "a.md", "a.md") == [Record("a.md", 0, b"x", "markdown")]


def test_a_missing_source_is_a_named_error(tmp_path):
    with pytest.raises(ConfigurationError, match="nowhere"):
        FolderSource(tmp_path / "nowhere").changes()


def test_the_cursor_and_the_version_follow_changes(tmp_path):
    source = pickle.loads(pickle.dumps(FolderSource(tmp_path)))
    (tmp_path / "a.txt").write_text("x")
    before = source.changes()
    assert source.changes() == before
    assert before.is_snapshot
    (tmp_path / "a.txt").write_text("xy")
    after = source.changes()
    assert after.cursor != before.cursor
    assert after.units[0].version != before.units[0].version
    (tmp_path / "a.txt").rename(tmp_path / "b.txt")
    assert source.changes().cursor != after.cursor


def test_what_is_gone_since_it_was_listed_is_unreadable(tmp_path):
    source = FolderSource(tmp_path / "source")
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a.txt").write_text("x")
    (unit,) = source.changes().units
    (tmp_path / "source" / "a.txt").unlink()
    with pytest.raises(UnreadableError, match="it is gone since it was listed") as caught:
        list(source.read(unit, 10))
    assert caught.value.reason == RejectionReason.UNREADABLE
    (tmp_path / "source").rmdir()
    with pytest.raises(UnreadableError, match=f"the whole folder '{tmp_path}/source' is gone"):
        list(source.read(unit, 10))


@pytest.mark.parametrize(
    "replace",
    [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/etc/passwd"), lambda path: path.symlink_to(path)],
    ids=["pipe", "folder", "link", "loop"],
)
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "sub/a.parquet"])
def test_what_takes_a_files_place_after_it_was_listed_is_not_opened(tmp_path, replace, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("x")
    source = FolderSource(tmp_path)
    (unit,) = source.changes().units
    path.unlink()
    replace(path)
    with pytest.raises(UnreadableError, match="no file in its place") as caught:
        list(source.read(unit, 10))
    assert caught.value.reason == RejectionReason.CHANGED_WHILE_READ


def test_a_folder_that_becomes_a_link_leads_nowhere(tmp_path):
    for name in ("source/sub", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "a.txt").write_text(name)
    source = FolderSource(tmp_path / "source")
    (unit,) = source.changes().units
    (tmp_path / "source" / "sub").rename(tmp_path / "aside")
    (tmp_path / "source" / "sub").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnreadableError, match="a link before it"):
        list(source.read(unit, 10))


@pytest.fixture
def well(tmp_path):
    """A folder whose removal by Python would call itself too often."""
    yield tmp_path / "well"
    subprocess.run(["rm", "-rf", tmp_path / "well"], check=True)


def test_folders_may_lie_very_deep(well):
    depth = sys.getrecursionlimit() + 100
    well.mkdir()
    descriptor = os.open(well, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=descriptor)
        below = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    with open(os.open("a.txt", os.O_CREAT | os.O_WRONLY, dir_fd=descriptor), "w") as stream:
        stream.write("deep")
    os.close(descriptor)
    source = FolderSource(well)
    (unit,) = source.changes().units
    assert unit.uri == "d/" * depth + "a.txt"
    assert [record.data for record in source.read(unit, 10)] == [b"deep"]


def test_a_source_may_be_given_as_a_link(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.txt").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    (tmp_path / "link.txt").symlink_to(tmp_path / "folder" / "a.txt")
    assert read(tmp_path / "link", "a.txt") == [Record("a.txt", 0, b"x", "text")]
    assert read(tmp_path / "link.txt", "link.txt") == [Record("link.txt", 0, b"x", "text")]


def test_what_can_not_be_looked_at_is_an_error_and_no_deletion(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("x")

    def stale(path):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), path)

    monkeypatch.setattr("forebay.sources.folder.os.lstat", stale)
    with pytest.raises(ConfigurationError, match=r"a\.txt.*can't be read \(Stale file handle\)"):
        FolderSource(tmp_path).changes()


@pytest.mark.parametrize("is_left_empty", [True, False], ids=["mount point", "nothing"])
def test_a_folder_that_goes_away_while_it_is_listed_is_an_error_and_no_deletion(tmp_path, monkeypatch, is_left_empty):
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "a.txt").write_text("x")
    (folder / "b.txt").write_text("x")

    def unmount(*args):
        if folder.exists() and any(folder.iterdir()):
            folder.rename(tmp_path / "elsewhere")
            if is_left_empty:
                folder.mkdir()
        return units_of_file(*args)

    monkeypatch.setattr("forebay.sources.folder.units_of_file", unmount)
    with pytest.raises(ConfigurationError, match="went away while it was listed"):
        FolderSource(folder).changes()


def test_a_file_that_is_written_to_while_it_is_read_yields_nothing(tmp_path, monkeypatch):
    (tmp_path / "rows.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    (unit,) = FolderSource(tmp_path).changes().units

    def write_midway(unit, stream, max_bytes):
        for record in records_of(unit, stream, max_bytes):
            yield record
            with (tmp_path / "rows.jsonl").open("a") as file:
                file.write('{"text": "more"}\n')

    monkeypatch.setattr("forebay.sources.records.records_of", write_midway)
    yielded = []
    with pytest.raises(UnreadableError) as caught:
        yielded.extend(FolderSource(tmp_path).read(unit, 100))
    assert caught.value.reason == RejectionReason.CHANGED_WHILE_READ
    assert yielded == []


def test_files_that_are_too_large_or_of_no_known_format_are_rejected(tmp_path):
    (tmp_path / "a.txt").write_text("x" * 11)
    (tmp_path / "b.exe").write_text("x")
    (tmp_path / "c").write_text("x")
    assert [item.reason for item in read(tmp_path, "a.txt", 10)] == [RejectionReason.TOO_LARGE]
    for uri, ending in (("b.exe", ".exe"), ("c", "no ending")):
        (rejected,) = read(tmp_path, uri)
        assert rejected.reason == RejectionReason.UNSUPPORTED_FORMAT
        assert ending in rejected.detail


def test_rows_of_a_jsonl_file_become_records(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n\n{"text": "far too long"}\n{"text": "two"}')
    first, long, last = read(tmp_path, "a.jsonl", max_bytes=16)
    assert first == Record("a.jsonl#L1", 0, b'{"text": "one"}', "row")
    assert (long.uri, long.reason) == ("a.jsonl#L3", RejectionReason.TOO_LARGE)
    assert last == Record("a.jsonl#L4", 42, b'{"text": "two"}', "row")


def test_a_large_jsonl_file_is_cut_into_ranges_that_hold_each_row_once(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "_RANGE_BYTES", 50)
    rows = [json.dumps({"text": "x" * number}).encode() for number in range(40)]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(rows))
    source = FolderSource(tmp_path)
    units = source.changes().units
    assert len(units) > 10
    assert {unit.uri for unit in units} == {"a.jsonl"}
    records = [record for unit in units for record in source.read(unit, 1000)]
    assert [record.data for record in records] == rows
    assert len({record.uri for record in records}) == len(rows)


def test_ranges_of_a_file_that_is_written_to_between_them_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "_RANGE_BYTES", 20)
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n' * 3)
    source = FolderSource(tmp_path)
    first, *others = source.changes().units
    assert len(list(source.read(first, 100))) == 2
    (tmp_path / "a.jsonl").write_text('{"text": "two, and more"}\n' * 3)
    for unit in others:
        with pytest.raises(UnreadableError) as caught:
            list(source.read(unit, 100))
        assert caught.value.reason == RejectionReason.CHANGED_WHILE_READ


def test_a_file_of_one_range_may_have_grown_since_it_was_listed(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n')
    source = FolderSource(tmp_path)
    (unit,) = source.changes().units
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    assert [record.data for record in source.read(unit, 100)] == [b'{"text": "one"}']


def test_rows_of_a_parquet_file_become_records(tmp_path):
    pq.write_table(pa.table({"id": ["a", "b"], "text": ["one", "x" * 100]}), tmp_path / "a.parquet")
    record, rejected = read(tmp_path, "a.parquet", max_bytes=50)
    assert (record.uri, record.position, record.format) == ("a.parquet#row=1", 1, "row")
    assert json.loads(record.data) == {"id": "a", "text": "one"}
    assert (rejected.uri, rejected.reason) == ("a.parquet#row=2", RejectionReason.TOO_LARGE)


def test_a_parquet_file_that_unpacks_too_far_is_refused_from_there_on(tmp_path, monkeypatch):
    monkeypatch.setattr("forebay.sources.records._GROWTH_FROM_BYTES", 2**20)
    rows = pa.DictionaryArray.from_arrays(pa.array([0] * 10_000, pa.int32()), ["x" * 1000])
    pq.write_table(pa.table({"text": rows}), tmp_path / "bomb.parquet")
    size_bytes = (tmp_path / "bomb.parquet").stat().st_size
    assert size_bytes < 8000
    *records, last = read(tmp_path, "bomb.parquet", max_bytes=2000)
    assert (last.reason, last.uri) == (RejectionReason.EXPANDS_TOO_FAR, f"bomb.parquet#row={len(records) + 1}")
    assert len(records) == max(2**20, 1000 * size_bytes) // len(records[0].data)


def test_a_small_parquet_file_may_have_large_rows(tmp_path):
    pq.write_table(pa.table({"text": ["x" * 100_000] * 100}), tmp_path / "a.parquet")
    assert len(read(tmp_path, "a.parquet", max_bytes=2**20)) == 100


@pytest.mark.parametrize("data", [b"", b"no parquet"])
def test_an_unreadable_parquet_file_is_rejected(tmp_path, data):
    (tmp_path / "a.parquet").write_bytes(data)
    (rejected,) = read(tmp_path, "a.parquet")
    assert (rejected.uri, rejected.reason) == ("a.parquet", RejectionReason.PARSER_ERROR)


def test_a_large_parquet_file_is_never_held_whole(tmp_path):
    """64 pages of 1 MB in one row group: the first row costs a few of them."""
    text = pa.array([base64.b64encode(os.urandom(3 * 2**18)).decode() for _ in range(64)])
    pq.write_table(pa.table({"text": text}), tmp_path / "a.parquet", write_batch_size=1)
    del text
    held_before = pa.total_allocated_bytes()
    (unit,) = FolderSource(tmp_path).changes().units
    with CountingReader((tmp_path / "a.parquet").open("rb", buffering=0)) as stream:
        records = records_of(unit, stream, 2**21)
        assert next(records).position == 1
        assert CountingReader.count < 24 * 2**20
        assert pa.total_allocated_bytes() - held_before < 40 * 2**20
        assert [record.position for record in records] == list(range(2, 65))


class CountingReader(io.BufferedReader):
    """Counts the bytes that are read."""

    count = 0

    def read(self, size=-1, /):
        data = super().read(size)
        CountingReader.count += len(data)
        return data


def test_a_parquet_file_that_the_system_can_not_read_is_no_broken_file(tmp_path):
    pq.write_table(pa.table({"text": ["x"] * 10}), tmp_path / "a.parquet")
    (unit,) = FolderSource(tmp_path).changes().units

    class Silent(io.BytesIO):
        def read(self, size=-1, /):
            raise TimeoutError("no answer")

    # As fsspec's time limit: an OSError of a kind of its own, without a number.
    with pytest.raises(TimeoutError):
        list(records_of(unit, Silent(b"x" * 100), 1000))


def test_a_parquet_file_that_is_cut_off_is_rejected(tmp_path):
    pq.write_table(pa.table({"text": [f"text {number}" for number in range(1000)]}), tmp_path / "whole.parquet")
    whole = (tmp_path / "whole.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    assert [item.reason for item in read(tmp_path, "cut.parquet")] == [RejectionReason.PARSER_ERROR]
