from collections import Counter

import pytest

from forebay.settings import IndexSettings
from forebay.store.bm25_terms import ChunkTerms
from forebay.store.stems import ChunkStems, QuestionStems


def _counts(text, language="en", **settings):
    return sorted(Counter(ChunkStems(IndexSettings(**settings)).read(text, language).split()).values())


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        # wing, lift, drag; the rest are stop words.
        ("The wing of wings: a WING's lift, and the drag", "en", [1, 1, 3]),
        # haus, fluss.
        ("das Haus, die Häuser und der Fluss", "de", [1, 2]),
        # Neither stemmed nor a stop word: rzeka, rzeki, the.
        ("rzeka rzeki rzeka the", "pl", [1, 1, 2]),
        ("turbine " * 1000 + "dam " * 999, "en", [999, 1000]),
        ("the of and", "en", []),
        ("", "en", []),
    ],
)
def test_a_stem_stands_as_often_as_the_chunk_has_it(text, language, expected):
    assert _counts(text, language) == expected


@pytest.mark.parametrize("settings", [{"bm25_k": 0.0}, {"bm25_k": 3.0, "bm25_b": 1.0, "bm25_average_terms": 7.0}])
def test_the_settings_of_weights_decide_about_no_count(settings):
    text = "dam " * 5 + "lift " * 300
    assert _counts(text, **settings) == [5, 300]


@pytest.mark.parametrize("settings", [{}, {"bm25_language": "german"}])
def test_stems_are_the_terms_of_the_embedded_store(settings):
    index, text = IndexSettings(**settings), "the turbines at the house"
    terms = ChunkTerms(index).read(text, "en").indices
    stems = ChunkStems(index).read(text, "en").split()
    assert {int(stem, 16) for stem in stems} == set(terms)
    assert {len(stem) for stem in stems} == {8}


def test_a_question_has_the_stems_of_every_language_once():
    index = IndexSettings()
    stems = QuestionStems(index, ["en", "de", "en"]).read("the turbines, Turbines and a TURBINE").split()
    chunks = {language: ChunkStems(index).read("turbines", language) for language in ("en", "de", "fr")}
    assert {chunks["en"], chunks["de"]} < set(stems)
    assert chunks["fr"] not in stems
    # English: turbin. German: turbin, but its stop words are others: the, and, a.
    assert len(stems) == len(set(stems)) == 1 + 4


@pytest.mark.parametrize(
    ("settings", "language"), [({"bm25_language": "german"}, "de"), ({"bm25_fallback_language": "german"}, "und")]
)
def test_without_languages_it_is_the_fixed_one_or_the_fallback(settings, language):
    index = IndexSettings(**settings)
    assert QuestionStems(index, ()).read("Häuser der Maschine") == ChunkStems(index).read("Haus Maschine", language)


def test_a_question_of_stop_words_has_no_stems():
    assert QuestionStems(IndexSettings(), ["en"]).read("what is the ?!") == ""
