import dataclasses

import pytest
from qdrant_edge import EdgeShard, UpdateOperation

from forebay.errors import FilterError
from forebay.store import EVERYTHING, PUBLIC, Caller, SearchMode, SearchRequest
from forebay.store.access import effective_filter
from forebay.store.qdrant_edge import QdrantEdgeStore
from forebay.store.shard_files import copy_sealed_files, seal, staging_folder
from forebay.store.terms import METADATA_TERMS
from forebay.testing import HashEmbedder
from tests.filters import DOCUMENTS, GROUPS
from tests.releases import build_release


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    root = tmp_path_factory.mktemp("shards")
    manifest = build_release(root, DOCUMENTS, HashEmbedder(), shards=2)
    opened = QdrantEdgeStore(root, manifest.embedding, manifest.index).open(manifest)
    yield opened
    opened.close()


def _found(release, where, caller, mode):
    vector = HashEmbedder().embed_queries(["text number"])[0]
    (hits,) = release.search([SearchRequest("text number title odd", vector, 200, mode, where, caller)])
    return {hit.doc_id for hit in hits}


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1, "ab"), (1.0, "ab"), (True, "c"), (False, "d"), (0, "e"), ("1", "f"), ("true", "g"), (2**53 + 1, "h")],
)
def test_values_are_equal_only_within_their_type(tmp_path, value, expected):
    held = [1, 1.0, True, False, 0, "1", "true", 2**53 + 1, 2**53 + 2]
    documents = [(doc_id, "t", "text", {"n": n}) for doc_id, n in zip("abcdefghi", held, strict=True)]
    manifest = build_release(tmp_path, documents, HashEmbedder(), shards=1)
    release = QdrantEdgeStore(tmp_path, manifest.embedding, manifest.index).open(manifest)
    assert _found(release, {"metadata.n": value}, EVERYTHING, SearchMode.DENSE) == set(expected)
    release.close()


def test_a_request_that_names_no_caller_finds_what_is_for_everybody(release):
    vector = HashEmbedder().embed_queries(["text"])[0]
    (hits,) = release.search([SearchRequest("text", vector, 200)])
    free = {d[0] for d in DOCUMENTS if "tenant" not in d[3] and "groups" not in d[3]}
    assert {hit.doc_id for hit in hits} == free
    assert 0 < len(free) < len(DOCUMENTS)


def test_a_tenant_that_is_no_string_is_found_by_nobody(release):
    for caller in (PUBLIC, Caller("5"), Caller("acme", frozenset(GROUPS)), Caller(None, frozenset({"7"}))):
        assert not {"odd1", "odd2"} & _found(release, {}, caller, SearchMode.DENSE)


def test_only_everything_skips_the_check():
    assert effective_filter(None, EVERYTHING) is None
    for caller in (PUBLIC, Caller("acme"), Caller(groups=frozenset({"hr"}))):
        assert effective_filter(None, caller) is not None
    names = [field.name for field in dataclasses.fields(Caller)]
    assert names == ["tenant", "groups", "sees_everything"]


def test_a_shard_of_an_earlier_version_keeps_to_access_and_refuses_filters_that_it_can_not_answer(tmp_path):
    documents = [("open", "t", "text", {"n": 1}), ("closed", "t", "text", {"n": 1, "tenant": "acme"})]
    manifest = build_release(tmp_path, documents, HashEmbedder(), shards=1)
    (ref,) = manifest.shards
    target = tmp_path / "s000" / "earlier"
    with staging_folder(target) as staging:
        copy_sealed_files(tmp_path / ref.path, staging)
        shard = EdgeShard.load(str(staging))
        for name in (METADATA_TERMS, "metadata.tenant", "metadata.groups"):
            shard.update(UpdateOperation.delete_field_index(name))
        shard.flush()
        shard.close()
        earlier = seal(staging, target, root=tmp_path, number=0, content="earlier", chunks=2)
    store = QdrantEdgeStore(tmp_path, manifest.embedding, manifest.index)
    release = store.open(manifest.model_copy(update={"shards": (earlier,)}))
    assert _found(release, {"format": "text"}, PUBLIC, SearchMode.DENSE) == {"open"}
    assert _found(release, {}, Caller("acme"), SearchMode.BM25) == {"open", "closed"}
    for where in ({"metadata.n": 1}, {"not": {"or": [{"metadata.m": {"exists": True}}]}}):
        with pytest.raises(FilterError, match="build the index again"):
            _found(release, where, PUBLIC, SearchMode.DENSE)
    release.close()
