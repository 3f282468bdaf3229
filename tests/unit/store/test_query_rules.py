import time

import pytest

from forebay.store.query_rules import NO_RULES, holding_phrases, read_rules


@pytest.mark.parametrize(
    "question",
    [
        "E-1234",
        "what does the error E-1234 mean?",
        "0x80070057",
        "spare parts of PN4711-B.",
        "where is config.yaml read?",
        "(__init__.py)",
        "what is max_top_k",
        "ERR__TIMEOUT",
        "192.168.0.1",
        "the wing 65-210",
        "the report of 1958",
        "10,000 chunks",
    ],
)
def test_a_question_with_an_identifier_trusts_words_more(question):
    rules = read_rules(question)
    assert rules.bm25_weight > 1
    assert not rules.allows_feedback


def test_a_long_question_is_about_more_than_its_identifier():
    long = read_rules("what are the flutter characteristics of the exposed panels of the x-15 when it is heated")
    assert 1 < long.bm25_weight < read_rules("x-15").bm25_weight
    assert long.allows_feedback


@pytest.mark.parametrize(
    "question",
    [
        "",
        "what is the lift of a wing?",
        "i.e. the mixing problem, e.g. of the U.S. navy",
        "the 3 best and the 21st of them",
        "end of a sentence. Another-one, don't / and/or",
        "a dash - and an under _ score",
        "…",
    ],
)
def test_plain_words_have_no_rules(question):
    assert read_rules(question) == NO_RULES


@pytest.mark.parametrize(
    ("question", "phrases"),
    [
        ('who wrote "Shock  Wave" reports?', ("shock wave",)),
        ("“shock wave” and „dünne Platte“ and «choc»", ("shock wave", "dünne platte", "choc")),
        ('"a b" again "A B"', ("a b",)),
        ('a pipe of 5" and one of 3" in steel', ()),
        ('"" and " " and "?!"', ()),
        ('an "open end', ()),
    ],
)
def test_quoted_phrases_are_read(question, phrases):
    assert read_rules(question).phrases == phrases


def test_a_passage_has_to_hold_the_phrase_as_whole_words_in_any_case_and_spacing():
    texts = {
        "a": "The SHOCK\n wave.",
        "b": "shock waves",
        "c": "a wave of shock",
        "d": "(shock wave)",
        "e": "aftershock wave",
    }
    assert holding_phrases(texts, ["shock wave"]) == ["a", "d"]


def test_all_phrases_are_required_but_those_that_nothing_holds():
    texts = {"a": "heat and lift", "b": "heat", "c": "drag"}
    assert holding_phrases(texts, ["heat", "lift"]) == ["a"]
    assert holding_phrases(texts, ["heat", "entropy"]) == ["a", "b"]
    assert holding_phrases(texts, ["entropy"]) == ["a", "b", "c"]
    # Each is held by something, but nothing holds both: the first decides.
    assert holding_phrases(texts, ["drag", "lift"]) == ["c"]


def test_a_phrase_is_no_pattern():
    assert holding_phrases({"a": "f(x) = a+b", "b": "aab"}, read_rules('"a+b"').phrases) == ["a"]


@pytest.mark.parametrize(
    "question", ["a_" * 2048 + "!", '"' * 4096, "„" * 4096, "a." * 2048 + "!", "_" * 4096, "1." * 2048]
)
def test_no_question_takes_long_to_read(question):
    began = time.perf_counter()
    read_rules(question)
    # It takes milliseconds; backtracking over 4,096 characters would take much longer.
    assert time.perf_counter() - began < 1
