import pytest

from bentos.gateway.grounding import AnswerChecker, Citation, cite, clean_sentence, quote_passages
from bentos.gateway.passages import relevant_passages
from bentos.gateway.prompt import build_messages
from bentos.gateway.support import find_support
from tests.unit.bentos.conftest import make_hit

SLIPSTREAM = (
    "an experimental study of a wing in a propeller slipstream was made . a substantial part of the lift "
    "increment produced by the slipstream was due to a boundary-layer-control effect . the speed was 42 m/s ."
)
HEAT = (
    "a method of predicting laminar heat-transfer rates to blunt bodies is developed . the results are not "
    "in agreement with experiment ."
)
QUESTION = "how does a slipstream affect the lift of a wing"


@pytest.fixture
def check(passages):
    def run(text, *, question=QUESTION, was_cut=False, min_support=0.6):
        checker = AnswerChecker(passages(SLIPSTREAM, HEAT), question, min_support=min_support)
        shown = []
        for character in text:
            if checker.is_done:
                break
            shown += checker.feed(character)
        shown += checker.finish(was_cut=was_cut)
        return "".join(shown), [citation.position for citation in checker.citations]

    return run


def test_a_supported_sentence_gets_the_citation_of_its_passage(check):
    text = "A substantial part of the lift increment was due to a boundary-layer-control effect."
    assert check(text) == (text.replace("effect.", "effect [1]."), [0])


def test_a_wrong_marker_is_replaced_by_the_right_one(check):
    text = "A substantial part of the lift increment [2] was due to a boundary-layer-control effect [7]."
    expected = "A substantial part of the lift increment was due to a boundary-layer-control effect [1]."
    assert check(text) == (expected, [0])


def test_numbers_follow_the_order_of_first_use(check):
    text = (
        "A method of predicting laminar heat-transfer rates to blunt bodies lift is developed. "
        "A substantial part of the lift increment was due to a boundary-layer-control effect."
    )
    shown, positions = check(text)
    assert positions == [1, 0]
    assert "developed [1]." in shown
    assert "effect [2]." in shown


def test_an_unsupported_sentence_is_dropped(check):
    text = "Slipstream lift is computed by computational fluid dynamics on modern supercomputers."
    assert check(text) == ("", [])


def test_the_right_words_in_a_wrong_order_are_less_support_than_in_the_right_one(passages, words):
    held = passages("the pump drives the turbine and the turbine drives the generator through a long shaft .")
    right = find_support("The pump drives the turbine.", held)
    wrong = find_support("The generator turbine drives the pump shaft.", held)
    assert right is not None
    assert wrong is not None
    assert right.share == 1.0
    assert wrong.share < 0.9


def test_a_number_that_the_passage_lacks_is_no_support(check):
    assert check("The speed of the slipstream was 42 m/s.")[0] == "The speed of the slipstream was 42 m/s [1]."
    assert check("The speed of the slipstream was 43 m/s.") == ("", [])


def test_a_turned_negation_is_no_support(check):
    question = "do the results agree with experiment"
    assert check("The results are in agreement with the experiment.", question=question) == ("", [])
    shown, _ = check("The results are not in agreement with the experiment.", question=question)
    assert shown == "The results are not in agreement with the experiment [1]."


def test_a_sentence_that_only_repeats_the_question_is_dropped(check):
    assert check("A slipstream affects the lift of a wing.") == ("", [])


def test_a_repeated_sentence_ends_the_answer(check, passages, words):
    sentence = "A substantial part of the lift increment was due to a boundary-layer-control effect. "
    shown, _ = check(sentence * 5)
    assert shown.count("substantial") == 1
    checker = AnswerChecker(passages(SLIPSTREAM), QUESTION, min_support=0.6)
    checker.feed(sentence)
    checker.feed(sentence + "x")
    assert checker.is_done


def test_a_sentence_that_points_back_at_a_dropped_one_is_dropped(check):
    text = (
        "Slipstreams were invented in France by bakers. "
        "This was due to a boundary-layer-control effect of the slipstream."
    )
    assert check(text) == ("", [])
    assert check(text.split(". ")[1])[0] != ""


def test_a_sentence_off_the_question_is_shown_only_if_nothing_else_is(check):
    off = "A method of predicting laminar heat-transfer rates to blunt bodies is developed."
    on = "A substantial part of the lift increment was due to a boundary-layer-control effect."
    assert check(off) == (off.replace("developed.", "developed [1]."), [1])
    assert check(f"{off} {on}") == (on.replace("effect.", "effect [1]."), [0])


def test_a_sentence_that_breaks_off_is_dropped(check):
    assert check("A substantial part of the lift increment produced by the slipstream was due to a.") == ("", [])


def test_a_last_sentence_that_was_cut_is_dropped(check):
    text = "A substantial part of the lift increment was due to a boundary-layer-control"
    assert check(text, was_cut=True) == ("", [])
    assert check(text, was_cut=False)[0] == f"{text} [1]."


def test_text_without_words_ends_the_generation(passages):
    checker = AnswerChecker(passages(SLIPSTREAM), QUESTION, min_support=0.6)
    for number in range(1, 60):
        for piece in ("[", str(number), "]", "\n"):
            checker.feed(piece)
    assert checker.is_done
    assert checker.finish(was_cut=True) == []


def test_three_bad_sentences_in_a_row_end_the_generation(passages):
    checker = AnswerChecker(passages(SLIPSTREAM), QUESTION, min_support=0.6)
    checker.feed("Paris is in northern France. Rome is in central Italy. Madrid is in central Spain. x")
    assert checker.is_done
    assert checker.is_empty


def test_quoting_takes_the_passages_own_words(passages):
    held = passages(HEAT, SLIPSTREAM)
    text, citations = quote_passages(held, QUESTION)
    quoted = SLIPSTREAM.split(" . ")[1]
    assert f'"{quoted}" [' in text
    assert Citation(1, 1) in citations


def test_quoting_always_quotes_something(passages):
    text, citations = quote_passages(passages(HEAT), "zebra")
    assert text == '"a method of predicting laminar heat-transfer rates to blunt bodies is developed" [1].'
    assert citations == [Citation(1, 0)]


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("[1] the lift rose .", "the lift rose."),
        ("- **the lift** rose [2][3].", "the lift rose."),
        ("2. the lift , rose [1, 2] .", "the lift, rose."),
        ("Answer: it rose.", "it rose."),
    ],
)
def test_a_sentence_is_cleaned(raw, clean):
    assert clean_sentence(raw) == clean


def test_the_marker_stands_before_the_stop():
    assert cite("It rose.", 2) == "It rose [2]."
    assert cite("It rose", 1) == "It rose [1]."
    assert cite('He said "go!"', 3) == 'He said "go [3]!"'


def test_nothing_relevant_gives_no_passages(words):
    hits = [make_hit(SLIPSTREAM, similarity=0.2), make_hit(HEAT, similarity=None)]
    assert relevant_passages(hits, "how do i bake bread", lambda _: words, min_similarity=0.35, limit=3) == []


def test_a_passage_with_all_words_of_the_question_is_relevant_whatever_its_vector_says(words):
    hits = [make_hit("error E4711 means that the forebay gate is stuck .", similarity=None)]
    found = relevant_passages(hits, "what does error E4711 mean", lambda _: words, min_similarity=0.35, limit=3)
    assert [passage.hit for passage in found] == hits


def test_passages_far_below_the_best_are_left_out(words):
    hits = [make_hit(SLIPSTREAM, similarity=0.7), make_hit(HEAT, similarity=0.1, doc_id="d2")]
    found = relevant_passages(hits, QUESTION, lambda _: words, min_similarity=0.35, limit=3)
    assert [passage.hit.doc_id for passage in found] == ["d1"]


def test_the_prompt_numbers_the_passages_and_keeps_to_its_budget(passages):
    messages = build_messages(passages(SLIPSTREAM, HEAT), QUESTION, max_tokens=500)
    text = messages[1]["content"]
    assert text.index("[1] an experimental study") < text.index("[2] a method of predicting") < text.index(QUESTION)
    short = build_messages(passages(f"{HEAT} " * 20 + SLIPSTREAM), QUESTION, max_tokens=75)[1]["content"]
    assert len(short) < 300 + len(QUESTION) + 60
    assert "lift increment" in short


def test_scripts_of_few_letters_a_token_use_up_the_budget_sooner(passages):
    sentences = [f"発電所の水車{n}は落ちる水を電力に変える。" for n in range(20)]
    text = build_messages(passages(" ".join(sentences)), "水車", max_tokens=50)[1]["content"]
    # 3 bytes a letter, and 200 to spend.
    assert 60 <= len(text.partition("\n\n")[0].removeprefix("[1] ")) <= 200 // 2


def test_a_single_sentence_longer_than_the_budget_is_cut(passages):
    text = build_messages(passages("lift " * 500), "lift", max_tokens=25)[1]["content"]
    assert 15 < text.count("lift") < 25
    assert len(text) < 200


_LOG = (
    "the weather was fine and the crew slept . the slipstream lift rose by half . nobody on board knew why . "
    "the cook fell ill at noon . the slipstream lift fell again at night . the mate wrote all of it down ."
)


@pytest.mark.parametrize(
    ("question", "tokens", "read"),
    [
        ("slipstream lift", 22, "the slipstream lift rose by half . … the slipstream lift fell again at night ."),
        ("slipstream weather board cook mate", 100, _LOG),
    ],
)
def test_the_prompt_marks_what_it_leaves_out_between_sentences(passages, question, tokens, read):
    text = build_messages(passages(_LOG), question, max_tokens=tokens)[1]["content"]
    assert text.split("\n\nQuestion:")[0] == f"[1] {read}"


def test_marks_of_omission_are_part_of_the_budget(passages):
    sentences = [f"the slipstream lift rose to {n} feet . the cook had no part in it ." for n in range(100, 160)]
    for tokens in (50, 200):
        text = build_messages(passages(" ".join(sentences)), "slipstream lift", max_tokens=tokens)[1]["content"]
        read = text.split("\n\nQuestion:")[0].removeprefix("[1] ")
        assert read.count("…") > tokens // 30
        # Spaces before sentences come on top.
        assert tokens * 3 < len(read.encode()) <= tokens * 4 + read.count(" . ")


def test_a_passage_of_which_nothing_is_read_has_no_mark(passages):
    text = build_messages(passages(SLIPSTREAM, HEAT), QUESTION, max_tokens=30)[1]["content"]
    assert text.count("[1]") == 1
    assert "[2]" not in text


def test_a_cut_sentence_ends_with_a_mark(passages):
    text = build_messages(passages("lift " * 500), "lift", max_tokens=25)[1]["content"]
    read = text.split("\n\nQuestion:")[0].removeprefix("[1] ")
    assert read.endswith(" …")
    assert len(read.encode()) <= 100


def test_marks_that_a_model_copies_are_neither_shown_nor_in_the_way(check):
    text = "… A substantial part of the lift increment … was due to a boundary-layer-control effect. … "
    expected = "A substantial part of the lift increment was due to a boundary-layer-control effect [1]."
    assert check(text) == (expected, [0])
