"""What a search is restricted to, checked on a real shard against a plain evaluation of the same filter."""

import dataclasses

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forebay.settings import IndexSettings
from forebay.store import EVERYTHING, PUBLIC, Caller, SearchMode, SearchRequest
from forebay.store.access import effective_filter
from forebay.store.qdrant_edge import QdrantEdgeStore
from forebay.testing import HashEmbedder
from tests.releases import build_release

_NAMES = ("n", "word", "a b", "x.y", "list[0]", "é")
_TEXTS = ("", "a", "b", "ä", "1", "true", "a b")
_NUMBERS = (0, 1, 1.0, 2, -1, 2.5, -0.0, 1e300, 2**53, 2**53 + 1, 2**62, 2**62 + 1)
_TENANTS, _GROUPS = ("acme", "globex"), ("hr", "staff", "board")


def _documents(count):
    """Documents whose fields, tenants and groups are drawn from a fixed seed, in every combination of kinds."""
    random = np.random.default_rng(5)
    kinds = [*_TEXTS, *_NUMBERS, True, False]
    made = []
    for number in range(count):
        metadata = {name: kinds[random.integers(len(kinds))] for name in _NAMES if random.random() < 0.5}
        if random.random() < 0.5:
            metadata["tenant"] = _TENANTS[random.integers(2)]
        if random.random() < 0.5:
            metadata["groups"] = [group for group in _GROUPS if random.random() < 0.5] or ["board"]
        made.append((f"d{number}", f"title {number % 3}", f"text number {number}", metadata))
    # What no parser lets through, but a table might hold: nobody may find it.
    made += [("odd1", "t", "odd", {"tenant": 5}), ("odd2", "t", "odd", {"groups": [7]})]
    return made


_DOCUMENTS = _documents(150)


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    root = tmp_path_factory.mktemp("shards")
    manifest = build_release(root, _DOCUMENTS, HashEmbedder(), shards=2)
    opened = QdrantEdgeStore(root, manifest.embedding, manifest.index or IndexSettings()).open(manifest)
    yield opened
    opened.close()


def _values(document, field):
    doc_id, title, _, metadata = document
    if field.startswith("metadata."):
        value = metadata.get(field.removeprefix("metadata."), [])
        return value if isinstance(value, list) else [value]
    return [{"doc_id": doc_id, "title": title, "format": "text"}[field]]


def _equal(one, other):
    """Strings with strings, booleans with booleans, numbers with numbers."""
    kinds = [str if isinstance(v, str) else bool if isinstance(v, bool) else float for v in (one, other)]
    return kinds[0] is kinds[1] and one == other


def _holds(value, operator, bound):
    if isinstance(value, str | bool):
        return False
    # A range is a comparison of float64.
    value, bound = float(value), float(bound)
    return {"gt": value > bound, "gte": value >= bound, "lt": value < bound, "lte": value <= bound}[operator]


def _matches(document, where):
    """Evaluate the JSON of a filter, with nothing of the code under test."""
    return all(_part_matches(document, name, value) for name, value in where.items())


def _part_matches(document, name, value):
    if name == "and":
        return all(_matches(document, part) for part in value)
    if name == "or":
        return any(_matches(document, part) for part in value)
    if name == "not":
        return not _matches(document, value)
    held = _values(document, name)
    operators = value if isinstance(value, dict) else {"in": value} if isinstance(value, list) else {"eq": value}
    for operator, operand in operators.items():
        if operator in ("eq", "ne"):
            matched = any(_equal(v, operand) for v in held) is (operator == "eq")
        elif operator == "in":
            matched = any(_equal(v, wanted) for v in held for wanted in operand)
        elif operator == "exists":
            matched = bool(held) is operand
        else:
            bounds = {op: bound for op, bound in operators.items() if op in ("gt", "gte", "lt", "lte")}
            matched = any(all(_holds(v, op, bound) for op, bound in bounds.items()) for v in held)
        if not matched:
            return False
    return True


def _may_find(document, caller):
    tenants, groups = _values(document, "metadata.tenant"), _values(document, "metadata.groups")
    return (not tenants or caller.tenant in tenants) and (not groups or bool(caller.groups & set(groups)))


# Numbers of one size: floats beyond 2**53 and integers beyond it are two different things in JSON.
_scalars = st.sampled_from([*_TEXTS, *_NUMBERS, True, False])
_metadata_fields = st.sampled_from([f"metadata.{name}" for name in (*_NAMES, "tenant", "groups", "missing")])
_bounds = st.dictionaries(st.sampled_from(["gt", "gte", "lt", "lte"]), st.sampled_from(_NUMBERS), min_size=1)
_lists = st.lists(st.sampled_from([*_TEXTS, *_TENANTS, *_GROUPS]), min_size=1, max_size=4) | st.lists(
    st.sampled_from(_NUMBERS), min_size=1, max_size=4
)
_metadata_conditions = (
    _scalars
    | _lists
    | _bounds
    | st.fixed_dictionaries({"ne": _scalars})
    | st.fixed_dictionaries({"eq": _scalars, "exists": st.booleans()})
    | st.fixed_dictionaries({"in": _lists, "gte": st.sampled_from(_NUMBERS)})
    | st.fixed_dictionaries({"exists": st.booleans()})
)
_chunk_conditions = st.sampled_from(["d1", "d2", "title 0", "title 1", "text", "none"])
_leaves = st.dictionaries(_metadata_fields, _metadata_conditions, min_size=1, max_size=3) | st.dictionaries(
    st.sampled_from(["doc_id", "title", "format"]),
    _chunk_conditions | st.lists(_chunk_conditions, min_size=1, max_size=3),
    min_size=1,
    max_size=2,
)
_filters = st.recursive(
    _leaves,
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"and": parts})
        | st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"or": parts})
        | inner.map(lambda part: {"not": part})
        | st.tuples(_leaves, inner).map(lambda parts: {**parts[0], "not": parts[1]})
    ),
    max_leaves=6,
)
_callers = st.builds(Caller, st.sampled_from([None, *_TENANTS, "nobody"]), st.frozensets(st.sampled_from(_GROUPS)))
_quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _found(release, where, caller, mode):
    vector = HashEmbedder().embed_queries(["text number"])[0]
    (hits,) = release.search([SearchRequest("text number title odd", vector, 200, mode, where, caller)])
    return {hit.doc_id for hit in hits}


@_quick
@given(where=_filters)
def test_a_filter_finds_exactly_what_a_plain_evaluation_finds(release, where):
    expected = {document[0] for document in _DOCUMENTS if _matches(document, where)}
    assert _found(release, where, EVERYTHING, SearchMode.DENSE) == expected
    assert release.count(where) == len(expected)


@_quick
@given(where=_filters | st.just({}), caller=_callers, mode=st.sampled_from(SearchMode))
def test_no_hit_is_one_that_its_caller_may_not_find_and_none_is_missing(release, where, caller, mode):
    expected = {document[0] for document in _DOCUMENTS if _may_find(document, caller) and _matches(document, where)}
    assert _found(release, where, caller, mode) == expected


def test_a_request_that_names_no_caller_finds_what_is_for_everybody(release):
    vector = HashEmbedder().embed_queries(["text"])[0]
    (hits,) = release.search([SearchRequest("text", vector, 200)])
    free = {d[0] for d in _DOCUMENTS if "tenant" not in d[3] and "groups" not in d[3]}
    assert {hit.doc_id for hit in hits} == free
    assert 0 < len(free) < len(_DOCUMENTS)


def test_a_tenant_that_is_no_string_is_found_by_nobody(release):
    for caller in (PUBLIC, Caller("5"), Caller("acme", frozenset(_GROUPS)), Caller(None, frozenset({"7"}))):
        assert not {"odd1", "odd2"} & _found(release, {}, caller, SearchMode.DENSE)


def test_only_everything_skips_the_check():
    assert effective_filter(None, EVERYTHING) is None
    for caller in (PUBLIC, Caller("acme"), Caller(groups=frozenset({"hr"}))):
        assert effective_filter(None, caller) is not None
    names = [field.name for field in dataclasses.fields(Caller)]
    assert names == ["tenant", "groups", "sees_everything"]
