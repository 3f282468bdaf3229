import pytest

from bentos.gateway.sentences import SentenceStream, split_sentences


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One here. Two there! Three?", ["One here.", "Two there!", "Three?"]),
        ("the lift rose . the drag fell .", ["the lift rose .", "the drag fell ."]),
        ("lift rose. drag fell.", ["lift rose.", "drag fell."]),
        (
            "See fig. 3 and eq. 4 of Smith et al. 1950 for it.",
            ["See fig. 3 and eq. 4 of Smith et al. 1950 for it."],
        ),
        ("J. Smith, i.e. the author, wrote it.", ["J. Smith, i.e. the author, wrote it."]),
        ("Mach 0.84 to 1.48 was flown. It held.", ["Mach 0.84 to 1.48 was flown.", "It held."]),
        ("It holds. [1] So does this.[2] End", ["It holds. [1]", "So does this.[2]", "End"]),
        ('He said "stop." Then he left.', ['He said "stop."', "Then he left."]),
        ("First line\n\n[2] second line", ["First line", "[2] second line"]),
        ("- one thing\n- another thing", ["- one thing", "- another thing"]),
        ("1. First thing. 2. Second thing.", ["1. First thing.", "2. Second thing."]),
        ("wrapped\nline goes on.", ["wrapped\nline goes on."]),
        ("What?! No way... Yes.", ["What?!", "No way...", "Yes."]),
        ("", []),
        (" . ", ["."]),
    ],
)
def test_text_is_split_at_sentence_ends(text, expected):
    assert split_sentences(text) == expected


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_a_stream_gives_the_same_sentences_however_it_is_cut(size):
    text = (
        "The flow, e.g. at mach 1.5, is steady . [1] the drag fell . Smith et al. agree.[2]\n\n[3] It ends here. rest"
    )
    stream = SentenceStream()
    sentences = [s for start in range(0, len(text), size) for s in stream.feed(text[start : start + size])]
    complete, rest = stream.finish()
    assert [*sentences, *complete, rest] == split_sentences(text)
    assert rest == "rest"


def test_a_sentence_is_given_out_only_when_the_next_word_shows_that_it_ended():
    stream = SentenceStream()
    assert stream.feed("It costs 3.") == []
    assert stream.feed("5 dollars.") == []
    assert stream.feed(" [") == []
    assert stream.feed("1] ") == []
    assert stream.feed("Next") == ["It costs 3.5 dollars. [1]"]
