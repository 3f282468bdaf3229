import json

from forebay.store.terms import metadata_terms


def test_no_two_fields_have_a_term_in_common():
    terms = [metadata_terms(fields) for fields in ({"a": "b"}, {'a", "b': ""}, {"a=b": ""}, {"a": ["b", "c"]})]
    assert terms[0] == ['["a"]', '["a", "b"]']
    assert terms[3] == ['["a"]', '["a", "b"]', '["a", "c"]']
    assert not set(terms[0]) & (set(terms[1]) | set(terms[2]))


def test_a_value_that_no_filter_can_ask_for_is_known_to_exist_only():
    assert metadata_terms({"a": "x" * 4097, "b": None, "c": []}) == ['["a"]']
    assert [json.loads(term) for term in metadata_terms({"a": "x" * 4096})] == [["a"], ["a", "x" * 4096]]
