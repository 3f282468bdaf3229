import multiprocessing
import os
import uuid

import pytest

from forebay.block_store import BlockStore
from forebay.errors import ConfigurationError, ReleaseError, TransferError
from forebay.release_transfer import pull, push
from forebay.releases import ReleaseRegistry
from forebay.store.qdrant_edge import QdrantEdgeStore
from forebay.testing import HashEmbedder
from tests.releases import build_release

DOCUMENTS = [(f"d{n}", f"Title {n}", f"The text of document number {n}.", {}) for n in range(12)]


class Folder:
    def __init__(self, path):
        self.shards, self.registry = path / "shards", ReleaseRegistry(path / "releases")

    def build(self, documents=DOCUMENTS):
        manifest = build_release(self.shards, documents, HashEmbedder())
        return self.registry.save(manifest)

    def push(self, manifest, store, **options):
        return push(self.registry, self.shards, manifest.release_id, store, **options)

    def pull(self, release_id, store):
        return pull(self.registry, self.shards, release_id, store)


@pytest.fixture
def here(tmp_path):
    return Folder(tmp_path / "here")


@pytest.fixture
def there(tmp_path):
    return Folder(tmp_path / "there")


@pytest.fixture(params=["folder", "memory"])
def store(request, tmp_path):
    return BlockStore(str(tmp_path / "store") if request.param == "folder" else f"memory://{uuid.uuid4().hex}")


@pytest.fixture
def folder_store(tmp_path):
    return BlockStore(str(tmp_path / "store"))


def _blocks(tmp_path):
    return [path for path in (tmp_path / "store" / "blocks").rglob("*") if path.is_file()]


def test_a_pulled_release_can_be_promoted_and_is_not_promoted_by_the_pull(here, there, store):
    manifest = here.build()
    here.push(manifest, store)
    there.pull(manifest.release_id, store)
    assert there.registry.current_id() is None
    there.registry.promote(manifest.release_id, shards=there.shards)
    assert there.registry.current() == manifest


def test_what_was_moved_once_is_not_moved_again(here, there, store):
    manifest = here.build()
    assert here.push(manifest, store).moved_blocks > 0
    assert here.push(manifest, store).moved_bytes == 0
    assert there.pull(manifest.release_id, store).moved_blocks > 0
    assert there.pull(manifest.release_id, store).moved_blocks == 0


def test_the_stores_current_release_is_only_named_on_request(here, there, store):
    manifest = here.build()
    here.push(manifest, store)
    with pytest.raises(TransferError, match="--promote"):
        there.pull(None, store)
    here.push(manifest, store, is_current=True)
    assert there.pull(None, store).release_id == manifest.release_id


def test_holes_are_not_sent(here, store):
    manifest = here.build()
    files = [path for path in here.shards.rglob("*") if path.is_file()]
    assert here.push(manifest, store).moved_bytes < sum(path.stat().st_size for path in files) / 10


@pytest.mark.parametrize(
    "harm", [lambda p: p.unlink(), lambda p: os.truncate(p, 5), lambda p: p.write_bytes(b"x" * 90)]
)
def test_a_harmed_block_is_named_and_the_current_release_stays(here, there, folder_store, tmp_path, harm):
    first = here.build()
    here.push(first, folder_store)
    there.pull(first.release_id, folder_store)
    there.registry.promote(first.release_id, shards=there.shards)
    before = set(_blocks(tmp_path))
    second = here.build([*DOCUMENTS, ("new", "New", "A new document.", {})])
    here.push(second, folder_store)
    harm(min(set(_blocks(tmp_path)) - before))
    with pytest.raises(TransferError, match="push"):
        there.pull(second.release_id, folder_store)
    assert there.registry.current() == first
    assert not there.registry.holds(second.release_id)
    assert not list(there.shards.rglob(".building-*"))


def test_a_damaged_shard_is_not_pushed(here, store):
    manifest = here.build()
    (here.shards / manifest.shards[0].path / "frequencies.npz").write_bytes(b"x")
    with pytest.raises(ReleaseError, match="cut, changed or removed"):
        here.push(manifest, store)
    with pytest.raises(TransferError, match="missing"):
        store.read(f"releases/{manifest.release_id}.json")


def test_a_shard_list_that_leaves_its_folder_is_refused(here, there, folder_store, tmp_path):
    manifest = here.build()
    here.push(manifest, folder_store)
    path = tmp_path / "store" / "releases" / f"{manifest.release_id}.json"
    path.write_text(path.read_text().replace(manifest.shards[0].path, "../../outside"))
    with pytest.raises(TransferError, match="outside"):
        there.pull(manifest.release_id, folder_store)


def test_a_store_that_cant_be_written_is_named(here, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(TransferError, match=r"can't be (written|listed).*check the address"):
        here.push(here.build(), BlockStore(str(tmp_path / "file")))


def test_an_unknown_store_is_a_configuration_error():
    with pytest.raises(ConfigurationError, match="nowhere"):
        BlockStore("nowhere://bucket")


def _search(shards, manifest, barrier, answers):
    release = QdrantEdgeStore(shards, manifest.embedding, manifest.index).open(manifest)
    barrier.wait(60)
    answers.put(release.count())
    release.close()


def test_two_processes_open_the_same_pulled_release_at_once(here, there, folder_store):
    manifest = here.build()
    here.push(manifest, folder_store)
    there.pull(manifest.release_id, folder_store)
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(2), context.Queue()
    readers = [context.Process(target=_search, args=(there.shards, manifest, barrier, answers)) for _ in range(2)]
    for reader in readers:
        reader.start()
    assert [answers.get(timeout=60) for _ in readers] == [12, 12]
    for reader in readers:
        reader.join(60)
        reader.close()
    answers.close()
    answers.join_thread()
    there.registry.promote(manifest.release_id, shards=there.shards)
