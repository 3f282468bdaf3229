"""What every vector store promises of words: they are found by the stems that their document's language gives them."""

import pytest

from forebay.store.contract import SearchMode
from tests.releases import TEXTS_IN_LANGUAGES, rows_in_languages
from tests.stores import EMBEDDER, WORDS_OVER_ALL_SHARDS, search


def _rows(texts):
    return rows_in_languages(texts, EMBEDDER)


def _found(release, question, mode=SearchMode.BM25):
    return {hit.doc_id for hit in search(release, EMBEDDER, question, mode=mode)}


@pytest.fixture(scope="module")
def mixed(store):
    opened = store.open(store.build(_rows(TEXTS_IN_LANGUAGES), partitions=2))
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Häuser", {"de-haus"}),
        ("Flüsse und Kraftwerk", {"de-haus", "de-strom"}),
        ("running", {"en-runs"}),
        ("what stopped the houses", {"en-runs", "en-house"}),
        ("Häuser running", {"de-haus", "en-runs"}),
        # Written alike in both.
        ("turbine e_1234", {"de-haus", "en-house"}),
        # Not stemmed: there is no stemmer for it.
        ("rzeka", {"pl-rzeka"}),
        ("rzekas", set()),
        # Too short to tell its language.
        ("pump", {"und"}),
        # Stop words are none of the words of the language that has them.
        ("das und it", set()),
        ("Maschine", {"de-strom"}),
    ],
)
def test_a_chunk_is_found_by_the_words_of_its_own_language(mixed, question, expected):
    assert _found(mixed, question) == expected


def test_a_question_of_stop_words_is_answered_by_the_dense_leg(mixed):
    assert _found(mixed, "the of and", SearchMode.HYBRID) == TEXTS_IN_LANGUAGES.keys()


def test_a_fixed_language_reads_every_document(built):
    release = built(_rows(TEXTS_IN_LANGUAGES), bm25_language="english")
    assert _found(release, "running") == {"en-runs"}
    assert _found(release, "pump") == {"und"}
    assert _found(release, "Häuser") == set()
    assert _found(release, "die das") == {"de-haus"}


def test_the_fallback_reads_documents_without_a_language(built):
    rows = _rows({"short": ("und", "Häuser"), "running": ("en", "it runs")})
    assert _found(built(rows), "Haus") == set()
    release = built(rows, bm25_fallback_language="german")
    assert _found(release, "Haus") == {"short"}
    assert _found(release, "running") == {"running"}


def test_titles_and_headings_are_stemmed_like_the_text(built):
    rows = _rows({"title": ("de", "erstens"), "heading": ("de", "zweitens"), "text": ("de", "die Kraftwerke")})
    rows[0]["title"], rows[1]["heading_path"] = "Kraftwerke am Fluss", "Technik > Kraftwerken"
    assert _found(built(rows), "Kraftwerk") == {"title", "heading", "text"}


@pytest.mark.needs(WORDS_OVER_ALL_SHARDS)
def test_a_word_that_comes_more_often_ranks_higher(built):
    texts = {f"once{n}": "the turbine of a dam turns" for n in range(5)}
    texts |= {"often": "turbines, a turbine and the turbine", "never": "a dam"}
    release = built(_rows({doc_id: ("en", text) for doc_id, text in texts.items()}), partitions=1)
    first, *others = search(release, EMBEDDER, "turbines", mode=SearchMode.BM25)
    assert (first.doc_id, len(others)) == ("often", 5)
    assert first.score > others[0].score


def test_a_quoted_phrase_is_held_to_the_letter_and_its_words_are_stemmed(built):
    texts = {"one": "alte Häuser am Fluss", "other": "ein altes Haus am Fluss"}
    release = built(_rows({doc_id: ("de", text) for doc_id, text in texts.items()}))
    assert _found(release, "alte Haus") == {"one", "other"}
    assert _found(release, 'altem "Haus am Fluss"') == {"other"}
