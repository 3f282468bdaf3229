import random
import subprocess
import tracemalloc

import pytest
from dulwich import porcelain
from dulwich.repo import Repo

from forebay.documents import RejectionReason
from forebay.sources.contract import UnreadableError
from forebay.sources.git import GitSource
from forebay.sources.git_sizes import sizes_in_bytes
from tests.programs import require_git

_BIG_BYTES = 32 * 2**20


def _source(tmp_path, files):
    origin = tmp_path / "origin"
    porcelain.init(origin).close()
    for name, data in files.items():
        (origin / name).write_bytes(data)
    porcelain.add(origin)
    porcelain.commit(origin, message=b"x", author=b"A <a@b>", committer=b"A <a@b>", sign=False)
    return GitSource(f"git+file://{origin}", tmp_path / "cache")


def _mirror(tmp_path):
    (mirror,) = (path for path in (tmp_path / "cache").iterdir() if path.is_dir())
    return mirror


@pytest.fixture
def alike():
    """A text, and its beginning, which Git keeps as a difference to it."""
    whole = random.Random(0).randbytes(300_000).hex().encode()
    return {"b.txt": whole, "a.txt": whole[:500_000], "other.txt": b"other"}


def _repack(mirror, offsets):
    require_git()
    option = f"repack.useDeltaBaseOffset={offsets}"
    subprocess.run(["git", "-C", mirror, "-c", option, "repack", "-adfq"], check=True)


@pytest.mark.parametrize("offsets", ["true", "false"])
def test_sizes_are_those_of_the_objects_and_of_what_they_are_differences_to(tmp_path, alike, offsets):
    units = {unit.uri: unit for unit in _source(tmp_path, alike).changes().units}
    _repack(_mirror(tmp_path), offsets)
    with Repo(str(_mirror(tmp_path))) as repository:
        store = repository.object_store
        found = {name: sizes_in_bytes(store, unit.address) for name, unit in units.items()}
        assert found == {"b.txt": [600_000], "a.txt": [500_000, 600_000], "other.txt": [5]}
        assert {sha: sizes_in_bytes(store, sha)[0] for sha in store} == {
            sha: len(store.get_raw(sha)[1]) for sha in store
        }
        with pytest.raises(KeyError):
            sizes_in_bytes(store, b"0" * 40)


def test_the_size_of_an_object_in_a_damaged_pack_is_an_error(tmp_path, alike):
    (unit, *_) = _source(tmp_path, alike).changes().units
    (pack,) = _mirror(tmp_path).glob("objects/pack/*.pack")
    pack.chmod(0o644)
    data = pack.read_bytes()
    pack.write_bytes(data[:12] + b"\xff" * (len(data) - 32) + data[-20:])
    with Repo(str(_mirror(tmp_path))) as repository, pytest.raises(ValueError, match="damaged"):
        sizes_in_bytes(repository.object_store, unit.address)


def test_a_file_that_is_too_large_is_refused_without_being_inflated(tmp_path):
    source = _source(tmp_path, {"big.txt": bytes(_BIG_BYTES), "big.exe": bytes(_BIG_BYTES + 1), "a.txt": b"a" * 1000})
    source.changes()
    tracemalloc.start()
    try:
        units = {unit.uri: unit for unit in source.changes().units}
        with pytest.raises(UnreadableError, match="larger than 1000 bytes") as caught:
            list(source.read(units["big.txt"], 1000))
        (rejected,) = source.read(units["big.exe"], 1000)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert caught.value.reason == RejectionReason.TOO_LARGE
    assert rejected.reason == RejectionReason.UNSUPPORTED_FORMAT
    assert peak_bytes < _BIG_BYTES / 4
    assert [record.data for record in source.read(units["a.txt"], 1000)] == [b"a" * 1000]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.parquet"])
def test_files_of_many_documents_have_a_limit_of_their_own(tmp_path, monkeypatch, name):
    source = _source(tmp_path, {name: b'{"text": "a"}\n' * 200})
    (unit,) = source.changes().units
    assert list(source.read(unit, 1000))
    monkeypatch.setattr("forebay.sources.git._MAX_TABLE_BYTES", 2000)
    with pytest.raises(UnreadableError, match="larger than 2000 bytes"):
        list(source.read(unit, 1000))


def test_a_small_file_that_is_a_difference_to_a_huge_one_is_refused(tmp_path, alike, monkeypatch):
    source = _source(tmp_path, alike)
    units = {unit.uri: unit for unit in source.changes().units}
    _repack(_mirror(tmp_path), "true")
    assert [record.data for record in source.read(units["a.txt"], 10**6)] == [alike["a.txt"]]
    monkeypatch.setattr("forebay.sources.git._MAX_TABLE_BYTES", 550_000)
    with pytest.raises(UnreadableError, match="difference") as caught:
        list(source.read(units["a.txt"], 10**6))
    assert caught.value.reason == RejectionReason.TOO_LARGE
