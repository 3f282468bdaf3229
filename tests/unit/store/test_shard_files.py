import os
import shutil
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from forebay.errors import ReleaseError
from forebay.store.shard_files import copy_sealed_files, seal, verify

_MEBI = 1 << 20


@pytest.fixture
def sealed(tmp_path):
    """Give a sealed shard with one file of 4 MiB, most of it holes, and the shard's reference."""
    staging = tmp_path / "staging"
    staging.mkdir()
    with (staging / "segment").open("wb") as stream:
        stream.truncate(4 * _MEBI)
        for position, text in ((0, b"begin"), (_MEBI + 70_000, b"middle"), (4 * _MEBI - 3, b"end")):
            stream.seek(position)
            stream.write(text)
    folder = tmp_path / "shard"
    return folder, seal(staging, folder, root=tmp_path, number=0, content="c", chunks=1)


def _write(folder, position, data):
    with (folder / "segment").open("r+b") as stream:
        stream.seek(position)
        stream.write(data)


def _disk_bytes(folder):
    return (folder / "segment").stat().st_blocks * 512


def test_a_shard_is_as_large_as_what_it_takes_on_disk(sealed):
    folder, ref = sealed
    assert ref.bytes == _disk_bytes(folder) < _MEBI


def test_a_copy_without_holes_is_the_same_shard(sealed, tmp_path):
    folder, ref = sealed
    shutil.copytree(folder, tmp_path / "copy")
    data = (folder / "segment").read_bytes()
    (tmp_path / "copy" / "segment").write_bytes(data)
    assert _disk_bytes(tmp_path / "copy") >= 4 * _MEBI
    verify(tmp_path / "copy", ref, contents=True)


def test_what_others_write_while_they_open_the_shard_is_not_looked_at(sealed):
    folder, ref = sealed
    ended = threading.Event()

    def open_again_and_again():
        while not ended.is_set():
            # As Qdrant writes its settings.
            with tempfile.TemporaryDirectory(prefix=".atomicwrite", dir=folder):
                pass

    with ThreadPoolExecutor(1) as pool:
        pool.submit(open_again_and_again)
        try:
            for _ in range(300):
                verify(folder, ref, contents=True)
        finally:
            ended.set()


def test_a_sparse_copy_has_the_same_bytes_and_holes(sealed, tmp_path):
    folder, _ = sealed
    copy_sealed_files(folder, tmp_path / "copy")
    assert os.listdir(tmp_path / "copy") == ["segment"]
    assert (tmp_path / "copy" / "segment").read_bytes() == (folder / "segment").read_bytes()
    assert _disk_bytes(tmp_path / "copy") < _MEBI


@pytest.mark.parametrize(
    ("position", "data"),
    [
        pytest.param(0, b"B", id="in data"),
        pytest.param(2 * _MEBI, b"x", id="in a hole"),
        pytest.param(4 * _MEBI - 1, b"D", id="last byte"),
        pytest.param(_MEBI + 70_000, bytes(6), id="data becomes zeros"),
    ],
)
def test_a_changed_byte_is_found(sealed, position, data):
    folder, ref = sealed
    _write(folder, position, data)
    with pytest.raises(ReleaseError, match="checksum"):
        verify(folder, ref, contents=True)


def test_data_at_another_place_is_found(sealed):
    folder, ref = sealed
    _write(folder, _MEBI + 70_000, bytes(6))
    _write(folder, 2 * _MEBI + 70_000, b"middle")
    with pytest.raises(ReleaseError, match="checksum"):
        verify(folder, ref, contents=True)
