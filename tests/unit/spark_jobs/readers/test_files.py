"""Every file of `tests/data/files` is read, or refused, as its EXPECTED.json says."""

import json
from pathlib import Path

import pytest

from forebay.sources.contract import Rejected
from forebay.sources.folder import FolderSource
from spark_jobs.parse_documents.parsing import parse_unit

_FILES = Path(__file__).resolve().parents[3] / "data" / "files"
_EXPECTED = json.loads((_FILES / "EXPECTED.json").read_text())
_MAX_BYTES = 8 * 2**20


@pytest.fixture(scope="module")
def source():
    return FolderSource(_FILES)


@pytest.fixture(scope="module")
def units(source):
    return {unit.uri: unit for unit in source.changes().units}


def test_every_file_is_expected(units):
    assert set(units) - {"EXPECTED.json"} == set(_EXPECTED)


@pytest.mark.parametrize("name", [name for name, outcome in _EXPECTED.items() if "accepted" in outcome])
def test_good_files_are_read(source, units, name):
    expected = _EXPECTED[name]
    found = list(parse_unit(source, units[name], _MAX_BYTES))
    assert [item for item in found if isinstance(item, Rejected)] == []
    assert len(found) == expected.get("documents", 1)
    assert any(expected["accepted"] in document.text for document in found)
    document = found[0]
    if "title" in expected:
        assert document.title == expected["title"]
    if "metadata" in expected:
        assert json.loads(document.metadata) == expected["metadata"]
    assert (document.format == "pages") == ("pages" in expected)
    if "pages" in expected:
        assert document.text.count("\f") + 1 == expected["pages"]


@pytest.mark.parametrize("name", [name for name, outcome in _EXPECTED.items() if "rejected" in outcome])
def test_bad_files_are_refused_for_the_right_reason(source, units, name):
    (rejected,) = parse_unit(source, units[name], _MAX_BYTES)
    assert isinstance(rejected, Rejected)
    assert (rejected.reason, rejected.uri.partition("#")[0]) == (_EXPECTED[name]["rejected"], name)
    assert rejected.detail
    assert "Traceback" not in rejected.detail
    assert "\n" not in rejected.detail
