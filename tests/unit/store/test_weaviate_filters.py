import pytest
from hypothesis import given, settings
from weaviate.collections.filters import _FilterToGRPC
from weaviate.proto.v1 import base_pb2

from forebay.errors import FilterError
from forebay.store.access import EVERYTHING, effective_filter
from forebay.store.filters import parse_filter
from forebay.store.range_terms import RANGE_TERMS, range_terms
from forebay.store.terms import METADATA_TERMS, metadata_terms
from forebay.store.weaviate_filters import has_range, to_weaviate_filter
from tests.filters import CALLERS, DOCUMENTS, FILTERS, matches, may_find

_OPERATOR = base_pb2.Filters.Operator


def _object(document):
    doc_id, title, _, metadata = document
    terms = {METADATA_TERMS: metadata_terms(metadata), RANGE_TERMS: range_terms(metadata)}
    return {"doc_id": [doc_id], "title": [title], "format": ["text"], **terms}


def _holds(message, properties):
    """Evaluate the message that a server would get, as Weaviate documents its operators."""
    parts = [_holds(part, properties) for part in message.filters]
    if message.operator == _OPERATOR.OPERATOR_AND:
        return all(parts)
    if message.operator == _OPERATOR.OPERATOR_OR:
        return any(parts)
    if message.operator == _OPERATOR.OPERATOR_NOT:
        (part,) = parts
        return not part
    assert message.operator == _OPERATOR.OPERATOR_CONTAINS_ANY
    return bool(set(message.value_text_array.values) & set(properties[message.target.property]))


@settings(max_examples=200, deadline=None)
@given(where=FILTERS, caller=CALLERS)
def test_the_message_holds_for_exactly_what_a_caller_may_find(where, caller):
    wanted = effective_filter(where, caller)
    message = _FilterToGRPC.convert(to_weaviate_filter(wanted))
    found = {document[0] for document in DOCUMENTS if _holds(message, _object(document))}
    assert found == {d[0] for d in DOCUMENTS if may_find(d, caller) and matches(d, where)}


def test_no_filter_is_none():
    assert to_weaviate_filter(effective_filter({}, EVERYTHING)) is None


def test_a_chunk_field_is_a_property_and_a_field_of_the_document_is_a_term():
    message = _FilterToGRPC.convert(to_weaviate_filter(parse_filter({"source": "a", "metadata.n": 2.0})))
    assert [part.target.property for part in message.filters] == ["source", "metadata_terms"]
    assert [list(part.value_text_array.values) for part in message.filters] == [["a"], ['["n", 2]']]


def test_a_range_anywhere_in_a_filter_is_known():
    within = {"metadata.n": {"gte": 1}}
    assert all(has_range(parse_filter(where)) for where in (within, {"or": [{"source": "a"}, {"not": within}]}))
    assert not has_range(parse_filter({"metadata.n": [1, 2], "not": {"metadata.m": {"exists": True}}}))


def test_more_ranges_than_a_server_looks_up_at_once_are_refused():
    ranges = [{"metadata.n": {"gt": n + 0.1, "lt": 1e300 - n}} for n in range(200)]
    assert to_weaviate_filter(parse_filter({"or": ranges[:20]})) is not None
    with pytest.raises(FilterError, match=r"'metadata\.n' more than 10000 terms.*whole numbers"):
        to_weaviate_filter(parse_filter({"or": ranges}))
    assert to_weaviate_filter(parse_filter({"or": [{"metadata.n": {"gte": 2000 + n}} for n in range(200)]})) is not None
