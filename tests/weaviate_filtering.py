"""The filters of Weaviate's double (tests/weaviate_wire.py): which a server refuses, and what they match."""

from weaviate.proto.v1 import base_pb2

_OPERATOR = base_pb2.Filters.Operator
_VALUES = {"text": {"value_text", "value_text_array"}, "int": {"value_int", "value_int_array"}}
"""Fields of the message that a value for a type may stand in."""


def require_properties(names, definition):
    """See to it that a collection has properties; a server without auto-schema refuses objects and filters otherwise.

    Raises:
        LookupError: it lacks one; with what a server says (entities/schema/errors.go).
    """
    for name in sorted(names - {item["name"] for item in definition["properties"]}):
        raise LookupError(
            f"no such prop with name '{name}' found in class '{definition['class']}' in the schema. Check your schema "
            "files for which properties in this class are available"
        )


def require_answerable(message, definition):
    """See to it that a server can answer a filter.

    Raises:
        LookupError: a property isn't there or has no inverted index, or a value has another type.
    """
    for part in message.filters:
        require_answerable(part, definition)
    name = message.target.property
    if message.filters or name == "_id":
        return
    require_properties({name}, definition)
    (held,) = [item for item in definition["properties"] if item["name"] == name]
    if not held["indexFilterable"]:
        raise LookupError(f"Filtering by property '{name}' requires inverted index")
    kind, value = held["dataType"][0].removesuffix("[]"), message.WhichOneof("test_value")
    if value not in _VALUES[kind]:
        raise LookupError(f"data type filter cannot use {value!r} on type {kind!r}")


def holds(message, properties):
    """Evaluate a filter, as Weaviate documents its operators."""
    if message.operator == _OPERATOR.OPERATOR_AND:
        return all(holds(part, properties) for part in message.filters)
    if message.operator == _OPERATOR.OPERATOR_OR:
        return any(holds(part, properties) for part in message.filters)
    if message.operator == _OPERATOR.OPERATOR_NOT:
        return not holds(message.filters[0], properties)
    held = properties.get(message.target.property)
    values = held if isinstance(held, list) else [held]
    if message.operator == _OPERATOR.OPERATOR_CONTAINS_ANY:
        return bool(set(message.value_text_array.values) & set(values))
    wanted = getattr(message, message.WhichOneof("test_value"))
    assert message.operator in (_OPERATOR.OPERATOR_EQUAL, _OPERATOR.OPERATOR_NOT_EQUAL)
    return (wanted in values) == (message.operator == _OPERATOR.OPERATOR_EQUAL)
