import itertools

import pytest

from forebay.chunks import ChunkLimits
from spark_jobs.chunk_documents import chunker
from spark_jobs.chunk_documents.chunker import Chunker, chunker_fingerprint
from spark_jobs.chunk_documents.sections import sections_of

_MARKDOWN = (
    "Preface.\r\n\r\n# One\r\n\r\nText of one.\r\n\r\n## Deep\r\n\r\nText of deep.\r\n\r\n# Two\r\n\r\nText of two.\r\n"
)


def _words(text):
    return len(text.split())


def _visible(text):
    # As BERT's tokenizer does, which drops what can't be seen.
    return len(text.replace("\u200b", " ").split())


def test_sections_follow_the_headings():
    found = [
        (section.heading_path, _MARKDOWN[section.start : section.end].strip())
        for section in sections_of(_MARKDOWN, "markdown")
    ]
    assert found == [
        ("", "Preface."),
        ("One", "Text of one."),
        ("One > Deep", "Text of deep."),
        ("Two", "Text of two."),
    ]


@pytest.mark.parametrize("text", ["```\n# no heading\n```\ntext", "> # quoted\n\ntext"])
def test_what_only_looks_like_a_heading_divides_nothing(text):
    assert [section.heading_path for section in sections_of(text, "markdown")] == [""]


def test_plain_text_is_one_section():
    assert len(sections_of(_MARKDOWN, "text")) == 1


@pytest.mark.parametrize("overlap", [0, 8])
def test_chunks_fit_the_budget_and_lie_where_they_say(overlap):
    text = " ".join(f"Sentence {number} says a few words about wings." for number in range(80))
    cutter = Chunker(ChunkLimits(max_tokens=48, overlap_tokens=overlap), _words)
    pieces = list(cutter.split("A title of five words", text, "text"))
    assert len(pieces) > 10
    for piece in pieces:
        assert piece.text == text[piece.start : piece.end]
        assert 0 < piece.n_tokens <= 48
    covered = set().union(*(range(piece.start, piece.end) for piece in pieces))
    assert all(position in covered for position, character in enumerate(text) if not character.isspace())


def test_neighbours_overlap():
    text = " ".join(f"Sentence {number} is here." for number in range(60))
    pieces = list(Chunker(ChunkLimits(max_tokens=40, overlap_tokens=10), _words).split("", text, "text"))
    assert all(later.start < earlier.end for earlier, later in itertools.pairwise(pieces))


def test_a_text_that_fits_is_one_chunk():
    (piece,) = Chunker(ChunkLimits(max_tokens=40, overlap_tokens=10), _words).split("T", "  Short text.  ", "text")
    assert (piece.text, piece.start, piece.end) == ("Short text.", 2, 13)


def test_a_word_without_spaces_is_cut_too():
    cutter = Chunker(ChunkLimits(max_tokens=64, overlap_tokens=0), len)
    pieces = list(cutter.split("", "x" * 1000, "text"))
    assert all(piece.n_tokens <= 64 for piece in pieces)
    assert "".join(piece.text for piece in pieces) == "x" * 1000


@pytest.mark.parametrize("blank", [" ", "\n", "\t"])
def test_blanks_of_very_many_lengths_are_cut_too(blank):
    text = "".join("x" + blank * length for length in range(1200, 0, -1))
    pieces = list(Chunker(ChunkLimits(max_tokens=40, overlap_tokens=0), _words).split("", text, "text"))
    assert sum(_words(piece.text) for piece in pieces) == 1200


@pytest.mark.parametrize("separator", [" ", "\n", ""])
def test_nothing_is_lost_of_a_text_of_many_blocks(separator):
    text = separator.join(f"word{number};" for number in range(30_000))
    pieces = list(Chunker(ChunkLimits(max_tokens=40, overlap_tokens=0), len).split("", text, "text"))
    assert len(text) > 2 * chunker._BLOCK_CHARS
    assert "".join("".join(piece.text.split()) for piece in pieces) == "".join(text.split())
    assert all(piece.text == text[piece.start : piece.end] and piece.n_tokens <= 40 for piece in pieces)


def test_what_the_model_reads_nothing_of_is_not_counted_again_and_again():
    counted = 0

    def count(text):
        nonlocal counted
        counted += len(text)
        return len(text.replace("\u200b", ""))

    text = "\u200b" * 10_000 + "x" * 100
    pieces = list(Chunker(ChunkLimits(max_tokens=40, overlap_tokens=0), count).split("", text, "text"))
    assert sum(piece.n_tokens for piece in pieces) == 100
    assert counted < 200 * len(text)


def test_a_long_title_leaves_room_for_text():
    cutter = Chunker(ChunkLimits(max_tokens=64, overlap_tokens=0), _words)
    (piece,) = cutter.split("word " * 500, "A short text.", "text")
    assert piece.n_tokens <= 64
    assert piece.text == "A short text."


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("# A project\n", ["# A project"]),
        ("# One\n\n## Two\n", ["# One\n\n## Two"]),
        ("A project\n=========\n", ["A project\n========="]),
        ("#\n", ["#"]),
        ("# One\n\n\u200b\n", ["# One\n\n\u200b"]),
    ],
)
def test_headings_without_text_are_the_text(text, pieces):
    cutter = Chunker(ChunkLimits(max_tokens=64, overlap_tokens=8), _visible)
    assert [piece.text for piece in cutter.split("", text, "markdown")] == pieces


def test_a_page_that_the_model_reads_nothing_of_is_no_chunk():
    cutter = Chunker(ChunkLimits(max_tokens=64, overlap_tokens=8), _visible)
    pieces = list(cutter.split("Title", "one\f\u200b\u200b\fthree", "pages"))
    assert [(piece.text, piece.page) for piece in pieces] == [("one", 1), ("three", 3)]


def test_a_document_of_which_the_model_reads_nothing_still_has_a_chunk():
    cutter = Chunker(ChunkLimits(max_tokens=64, overlap_tokens=8), _visible)
    (piece,) = cutter.split("", "\u200b\f\u200b", "pages")
    assert (piece.text, piece.n_tokens) == ("\u200b\f\u200b", 0)


def test_the_fingerprint_names_settings_and_model():
    settings = ChunkLimits(max_tokens=250, overlap_tokens=32)
    assert chunker_fingerprint(settings, "m") == chunker_fingerprint(settings, "m")
    assert chunker_fingerprint(settings, "m") != chunker_fingerprint(settings, "other")
    assert chunker_fingerprint(settings, "m") != chunker_fingerprint(ChunkLimits(max_tokens=99, overlap_tokens=32), "m")
