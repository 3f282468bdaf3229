"""The connector that CONTRIBUTING.md shows is one."""

import io
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from forebay.documents import RejectionReason, content_hash
from forebay.sources.contract import Changes, ReadUnit, Record, Rejected, UnreadableError
from forebay.sources.records import records_of

_PAGE = (Path(__file__).resolve().parents[3] / "CONTRIBUTING.md").read_text("utf-8")
_IMPORTS = (io, sqlite3, Iterator, Sequence, closing, RejectionReason, content_hash)
_CONTRACT = (Changes, ReadUnit, Record, Rejected, UnreadableError, records_of)


@pytest.fixture
def source(tmp_path):
    (code,) = re.findall(r"```python\n(class SqliteSource.*?)```", _PAGE, re.DOTALL)
    space = {name.__name__: name for name in (*_IMPORTS, *_CONTRACT)}
    exec(code, space)
    path = tmp_path / "rows.sqlite"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE documents (id TEXT, text TEXT, changed INTEGER)")
        database.executemany("INSERT INTO documents VALUES (?, ?, ?)", [("b", "beta", 2), ("a", "alpha", 1)])
    return space["SqliteSource"](f"sqlite://{path}"), path


def test_it_lists_reads_and_tells_what_is_gone(source):
    connector, path = source
    first = connector.changes()
    assert [(unit.uri, unit.version) for unit in first.units] == [("a", "1"), ("b", "2")]
    assert connector.changes() == first
    assert [list(connector.read(unit, 100)) for unit in first.units] == [
        [Record("a", 0, b"alpha", "text")],
        [Record("b", 0, b"beta", "text")],
    ]
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("DELETE FROM documents WHERE id = 'a'")
    assert connector.changes().cursor != first.cursor
    with pytest.raises(UnreadableError) as caught:
        list(connector.read(first.units[0], 100))
    assert caught.value.reason == RejectionReason.GONE
    connector.acknowledge(first, [])
