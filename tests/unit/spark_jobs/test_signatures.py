import json
from pathlib import Path

import pytest

from spark_jobs.parse_documents.readers.fields import audience_of
from spark_jobs.parse_documents.signatures import BANDS, bands_of, language_of, shingles_of, similarity

_ROWS = (Path(__file__).resolve().parents[3] / "samples" / "cranfield" / "corpus.jsonl").read_text("utf-8").splitlines()
_TEXTS = [text for row in _ROWS if (text := json.loads(row)["text"])]


def test_shingles_are_runs_of_five_words_whatever_their_case_and_spacing():
    assert shingles_of("One two  THREE four\nfive six") == {"one two three four five", "two three four five six"}
    assert shingles_of("Too short") == {"too short"}
    assert shingles_of("Just five words of it") == {"just five words of it"}


def test_similarity_is_jaccards():
    assert similarity({"a", "b", "c"}, {"b", "c", "d"}) == pytest.approx(2 / 4)


def test_equal_words_share_every_band():
    one, other = bands_of(shingles_of("Water turns a wheel here.")), bands_of(shingles_of("water  TURNS a wheel here."))
    assert one == other
    assert len(one) == BANDS + 1


def test_near_duplicates_share_a_band_and_other_texts_do_not():
    bands = [set(bands_of(shingles_of(text))) for text in _TEXTS[:300]]
    edited = [set(bands_of(shingles_of(" ".join([*text.split()[:-4], "and", "more"])))) for text in _TEXTS[:300]]
    found = sum(bool(one & other) for one, other in zip(bands, edited, strict=True))
    assert found >= 0.95 * len(bands)
    strangers = sum(bool(bands[i] & bands[j]) for i in range(100) for j in range(i))
    assert strangers <= 2


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The forebay holds water until the turbines need it.", "en"),
        ("Das Vorbecken hält das Wasser, bis die Turbinen es brauchen.", "de"),
        ("Le bassin retient l'eau jusqu'à ce que les turbines en aient besoin.", "fr"),
        ("前池は水車が必要とするまで水をためておく。", "ja"),
        ("THE FOREBAY HOLDS WATER UNTIL THE TURBINES NEED IT.", "en"),
        ("", "und"),
    ],
)
def test_the_language_is_told(text, language):
    assert language_of(text) == language


def test_documents_for_different_callers_share_no_band():
    shingles = shingles_of(_TEXTS[0])
    audiences = [
        audience_of(json.dumps(fields)) for fields in ({}, {"tenant": "a"}, {"tenant": "b"}, {"groups": ["a"]})
    ]
    bands = [set(bands_of(shingles, audience)) for audience in audiences]
    assert bands[0] == set(bands_of(shingles))
    assert len(set().union(*bands)) == sum(map(len, bands))
    assert audience_of('{"tenant": "a", "n": 1}') == audience_of('{"n": 2, "tenant": "a"}')
