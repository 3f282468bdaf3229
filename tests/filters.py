"""Documents, filters and callers drawn at random, and a plain evaluation of what each caller may find."""

import numpy as np
from hypothesis import strategies as st

from forebay.store import Caller

_NAMES = ("n", "word", "a b", "x.y", "list[0]", "é")
_TEXTS = ("", "a", "b", "ä", "1", "true", "a b")
_NUMBERS = (0, 1, 1.0, 2, -1, 2.5, -0.0, 1e300, 2**53, 2**53 + 1, 2**62, 2**62 + 1)
TENANTS, GROUPS = ("acme", "globex"), ("hr", "staff", "board")


def _made_documents(count):
    """Documents whose fields, tenants and groups are drawn from a fixed seed, in every combination of kinds."""
    random = np.random.default_rng(5)
    kinds = [*_TEXTS, *_NUMBERS, True, False]
    made = []
    for number in range(count):
        metadata: dict[str, object] = {
            name: kinds[random.integers(len(kinds))] for name in _NAMES if random.random() < 0.5
        }
        if random.random() < 0.5:
            metadata["tenant"] = TENANTS[random.integers(2)]
        if random.random() < 0.5:
            metadata["groups"] = [group for group in GROUPS if random.random() < 0.5] or ["board"]
        made.append((f"d{number}", f"title {number % 3}", f"text number {number}", metadata))
    # What no parser lets through, but a table might hold: nobody may find it.
    made += [("odd1", "t", "odd", {"tenant": 5}), ("odd2", "t", "odd", {"groups": [7]})]
    return made


DOCUMENTS = _made_documents(150)


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


def matches(document, where):
    """Evaluate the JSON of a filter, with nothing of the code under test."""
    return all(_part_matches(document, name, value) for name, value in where.items())


def _part_matches(document, name, value):
    if name == "and":
        return all(matches(document, part) for part in value)
    if name == "or":
        return any(matches(document, part) for part in value)
    if name == "not":
        return not matches(document, value)
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


def may_find(document, caller):
    tenants, groups = _values(document, "metadata.tenant"), _values(document, "metadata.groups")
    return (not tenants or caller.tenant in tenants) and (not groups or bool(caller.groups & set(groups)))


# Numbers of one size: floats beyond 2**53 and integers beyond it are two different things in JSON.
_scalars = st.sampled_from(_TEXTS) | st.sampled_from(_NUMBERS) | st.booleans()
_metadata_fields = st.sampled_from([f"metadata.{name}" for name in (*_NAMES, "tenant", "groups", "missing")])
_bounds = st.dictionaries(st.sampled_from(["gt", "gte", "lt", "lte"]), st.sampled_from(_NUMBERS), min_size=1)
_lists = st.lists(st.sampled_from([*_TEXTS, *TENANTS, *GROUPS]), min_size=1, max_size=4) | st.lists(
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
FILTERS = st.recursive(
    _leaves,
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"and": parts})
        | st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"or": parts})
        | inner.map(lambda part: {"not": part})
        | st.tuples(_leaves, inner).map(lambda parts: {**parts[0], "not": parts[1]})
    ),
    max_leaves=6,
)
CALLERS = st.builds(Caller, st.sampled_from([None, *TENANTS, "nobody"]), st.frozensets(st.sampled_from(GROUPS)))
