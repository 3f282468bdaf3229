"""The stems of a Weaviate collection: what is loaded, what is asked, and how its languages are found out."""

import re

import pytest
from weaviate.exceptions import WeaviateQueryError

from forebay.settings import IndexSettings
from forebay.store.contract import SearchMode
from forebay.store.stems import ChunkStems
from forebay.store.weaviate_connection import connect
from tests.releases import chunk_rows, cluster_release
from tests.weaviate_cluster import EMBEDDER, held_objects, load, request

_BY_WORDS = {"mode": SearchMode.BM25}


def _rows(texts):
    """Rows of documents of a language and, where one is named, a tenant."""
    rows = chunk_rows(
        [(f"d{n}", "", text, {"tenant": tenant[0]} if tenant else {}) for n, (_, text, *tenant) in enumerate(texts)],
        EMBEDDER,
    )
    for row, (language, *_) in zip(rows, texts, strict=True):
        row["language"] = language
    return rows


@pytest.fixture
def opened(wire, open_store):
    """Loads texts into a release by settings and opens it, as often as it is called; questions count from its load."""
    releases = []

    def build(texts, **settings):
        rows, index = _rows(texts), IndexSettings(store="weaviate", **settings)
        store, manifest = open_store(), cluster_release(EMBEDDER, len(rows), "c", index)
        load(store, rows, release_id=manifest.release_id, index=index)
        wire.searches.clear()
        releases.append(store.open(manifest))
        return releases[-1]

    yield build
    for release in releases:
        release.close()


def _found(release, question, **how):
    return {hit.doc_id for hit in release.search([request(question, **_BY_WORDS, **how)])[0]}


def _asked(wire):
    """Give what BM25 was asked last: its words and its properties."""
    asked = wire.searches[-1].bm25_search
    return asked.query.split(), list(asked.properties)


def _stems(text, language, **settings):
    return ChunkStems(IndexSettings(**settings)).read(text, language).split()


def test_a_chunk_is_loaded_with_its_stems_and_what_nothing_asks_is_not(wire, open_store):
    (row,) = _rows([("de", "die Turbinen der Turbine")])
    row |= {"title": "Häuser", "heading_path": "Am Fluss"}
    load(open_store(), [row])
    ((properties, _),) = held_objects(wire).values()
    assert sorted(properties["stems"].split()) == sorted(_stems("Haus Fluss Turbine Turbine", "de"))
    assert "title_words" not in properties


def test_a_question_asks_for_stems_in_the_languages_of_the_release_only(wire, opened):
    release = opened([("de", "das Haus"), ("en", "the house")])
    assert _found(release, "houses die Häuser") == {"d0", "d1"}
    words, properties = _asked(wire)
    assert properties == ["stems"]
    # German has no stop word `houses`, English none of the others.
    assert sorted(words) == sorted(_stems("houses Häuser", "de") + _stems("houses die Häuser", "en"))


@pytest.mark.parametrize("mode", [SearchMode.BM25, SearchMode.HYBRID])
@pytest.mark.parametrize("question", ["the of", "?!"])
def test_words_without_a_stem_are_not_asked_for(wire, opened, mode, question):
    release = opened([("en", "the house")])
    wire.searches.clear()
    (hits,) = release.search([request(question, mode=mode)])
    assert len(hits) == len(wire.searches) == (1 if mode == SearchMode.HYBRID else 0)
    told = release.explain(request(question, mode=mode))
    assert [set(asked.legs) for asked in told.rounds] == [{"dense"} if mode == SearchMode.HYBRID else set()]


def test_every_language_of_every_tenant_is_found_with_one_question_each(wire, opened):
    texts = [("en", "house"), ("en", "river"), ("de", "Häuser", "acme"), ("fr", "maisons", "acme"), ("pl", "domu", "b")]
    release = opened(texts, tenants=True)
    # One for each language, and one for each of three tenants that it has no others.
    assert len(wire.searches) == 4 + 3
    for n, word in enumerate(("houses", "rivers", "Haus", "maison", "domu")):
        assert _found(release, word) == {f"d{n}"}


def test_more_languages_than_most_releases_have_are_found(wire, opened):
    codes = ["da", "de", "en", "es", "fi", "fr", "hu", "it", "nl", "no", "pt", "ro", "ru", "sv", "tr", "pl", "und"]
    release = opened([(code, f"kestrel{n}") for n, code in enumerate(codes)])
    assert len(wire.searches) == len(codes) + 1
    # Polish has no stemmer, and what has no language is read as English.
    assert _found(release, "kestrel15") == {"d15"}
    assert _found(release, "kestrel16") == {"d16"}
    assert len(_asked(wire)[0]) == len(codes) - 1


def test_a_fixed_language_needs_no_look_for_languages(wire, opened):
    release = opened([("de", "Häuser"), ("en", "houses")], bm25_language="german")
    assert wire.searches == []
    assert _found(release, "Haus") == {"d0"}
    assert _asked(wire)[0] == _stems("Haus", "en", bm25_language="german")


@pytest.fixture
def earlier(wire, open_store):
    """An opened release as earlier versions of Forebay loaded it: with words as they are written, and no stems."""
    store, manifest = open_store(), cluster_release(EMBEDDER, 2, "c")
    load(store, _rows([("de", "das Haus"), ("de", "die Häuser")]), release_id=manifest.release_id)
    name = f"ForebayChunks_{manifest.release_id}"
    kept = [item for item in wire.classes[name]["properties"] if item["name"] not in ("stems", "heading_path", "text")]
    words = {"dataType": ["text"], "tokenization": "word", "indexFilterable": False, "indexSearchable": True}
    wire.classes[name]["properties"] = [
        *kept,
        *({"name": name, "indexRangeFilters": False, **words} for name in ("title_words", "heading_path", "text")),
    ]
    for key, (properties, vector) in wire.objects[name].items():
        del properties["stems"]
        wire.objects[name][key] = ({**properties, "title_words": "Titel"}, vector)
    wire.searches.clear()
    release = open_store().open(manifest)
    yield release
    release.close()


def test_a_release_of_an_earlier_version_answers_by_words_as_before(wire, earlier):
    assert wire.searches == []
    assert _found(earlier, "Haus!") == {"d0"}
    assert _asked(wire) == (["Haus!"], ["title_words", "heading_path", "text"])
    assert _found(earlier, "titel") == {"d0", "d1"}
    assert [hit.doc_id for hit in earlier.search([request("das Haus")])[0]] == ["d0", "d1"]
    wire.searches.clear()
    assert _found(earlier, "?!") == set()
    assert wire.searches == []


def test_the_double_refuses_words_where_a_server_has_no_index_of_them(wire, open_store):
    load(open_store(), _rows([("en", "house")]))
    with connect(wire.settings()) as client:
        query = client.collections.use(next(iter(wire.classes))).query
        for name in ("text", "title_words", "source"):
            with pytest.raises(WeaviateQueryError, match=re.escape(f"Searching by property '{name}' requires")):
                query.bm25("house", query_properties=[name])
