import pytest
from hypothesis import given, settings
from weaviate.collections.filters import _FilterToGRPC
from weaviate.proto.v1 import base_pb2

from forebay.errors import FilterError
from forebay.store.access import EVERYTHING, effective_filter
from forebay.store.filters import parse_filter
from forebay.store.terms import METADATA_TERMS, metadata_terms
from forebay.store.weaviate_filters import to_weaviate_filter
from tests.filters import CALLERS, DOCUMENTS, FILTERS, matches, may_find

_OPERATOR = base_pb2.Filters.Operator


def _object(document):
    doc_id, title, _, metadata = document
    return {"doc_id": [doc_id], "title": [title], "format": ["text"], METADATA_TERMS: metadata_terms(metadata)}


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


def _has_range(where):
    if isinstance(where, dict):
        return bool({"gt", "gte", "lt", "lte"} & set(where)) or any(map(_has_range, where.values()))
    return isinstance(where, list) and any(map(_has_range, where))


@settings(max_examples=200, deadline=None)
@given(where=FILTERS, caller=CALLERS)
def test_the_message_holds_for_exactly_what_a_caller_may_find(where, caller):
    wanted = effective_filter(where, caller)
    if _has_range(where):
        with pytest.raises(FilterError, match=r"metadata\..*range.*list the values"):
            to_weaviate_filter(wanted)
        return
    message = _FilterToGRPC.convert(to_weaviate_filter(wanted))
    found = {document[0] for document in DOCUMENTS if _holds(message, _object(document))}
    assert found == {d[0] for d in DOCUMENTS if may_find(d, caller) and matches(d, where)}


def test_no_filter_is_none():
    assert to_weaviate_filter(effective_filter({}, EVERYTHING)) is None


def test_a_chunk_field_is_a_property_and_a_field_of_the_document_is_a_term():
    message = _FilterToGRPC.convert(to_weaviate_filter(parse_filter({"source": "a", "metadata.n": 2.0})))
    assert [part.target.property for part in message.filters] == ["source", "metadata_terms"]
    assert [list(part.value_text_array.values) for part in message.filters] == [["a"], ['["n", 2]']]
