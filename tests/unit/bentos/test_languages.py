from dataclasses import replace
from functools import cache

import pytest

from bentos.gateway.answers import Answer, Answerer, Question
from bentos.gateway.grounding import AnswerChecker, Grounding
from bentos.gateway.passages import Passage, best_sentences, relevant_passages
from bentos.gateway.support import find_support
from bentos.gateway.words import ContentWords
from bentos.retriever.protocol import SearchOutcome
from forebay.settings import ServingSettings
from forebay.store.access import PUBLIC
from tests.unit.bentos.conftest import ScriptedGeneration, ScriptedRetrieval, make_hit, say

GERMAN = "Die Turbinen der Häuser drehen sich schnell. Der Schieber öffnet sich nicht bei Frost."
ENGLISH = "The gates of the forebay hold water. The turbines E-1234 turn slowly in winter."

words_in = cache(ContentWords)


def _passage(text, stemmer):
    return Passage(make_hit(text), words_in(stemmer))


@pytest.mark.parametrize(
    ("stemmer", "share"),
    [
        # Of turbin, haus, dreht, schnell all but one, and in this order.
        ("german", 3 / 4),
        # Of die, turbin, des, haus, dreht, schnell only the first and the last.
        ("english", 2 / 6),
        ("unstemmed", 2 / 6),
    ],
)
def test_a_sentence_is_compared_in_the_language_of_its_passage(stemmer, share):
    assert find_support("Die Turbine des Hauses dreht schnell.", [_passage(GERMAN, stemmer)]).share == share


@pytest.mark.parametrize(
    ("stemmer", "positive", "negative"),
    [
        ("german", "Der Schieber öffnet sich bei Frost.", "Der Schieber öffnet sich nicht bei Frost."),
        ("german", "Es gibt eine Turbine aus Stahl.", "Es gibt keine Turbine aus Stahl."),
        ("french", "La vanne fonctionne en hiver.", "La vanne ne fonctionne pas en hiver."),
        ("spanish", "La compuerta se abre con hielo.", "La compuerta nunca se abre con hielo."),
        ("italian", "La paratoia si apre con il gelo.", "La paratoia non si apre con il gelo."),
        ("dutch", "De schuif gaat open bij vorst.", "De schuif gaat niet open bij vorst."),
        ("portuguese", "A comporta abre com gelo.", "A comporta não abre com gelo."),
        ("swedish", "Luckan öppnas vid frost.", "Luckan öppnas inte vid frost."),
    ],
)
def test_a_turned_negation_is_no_support_in_any_language(stemmer, positive, negative):
    for said, held in ((positive, negative), (negative, positive)):
        assert find_support(held, [_passage(held, stemmer)]).share == 1.0
        assert find_support(said, [_passage(held, stemmer)]) is None


def test_stop_words_of_a_language_whose_negations_are_unknown_are_words():
    # The third word turns the sentence.
    held = _passage("A zsilip nem nyílik ki fagyban.", "hungarian")
    assert find_support("A zsilip nem nyílik ki fagyban.", [held]).share == 1.0
    assert find_support("A zsilip ki nyílik fagyban.", [held]).share < 1.0
    assert len(words_in("hungarian").read("a zsilip nem nyílik")) == 4


def test_sentences_of_every_language_are_found_and_what_is_written_alike_weighs_the_same():
    passages = [_passage("Die Häuser stehen am Fluss E-1234.", "german"), _passage(ENGLISH, "english")]
    assert [(p, s) for _, p, s in best_sentences(passages, "Haus am Flüsse")] == [(0, 0)]
    assert {(p, s) for _, p, s in best_sentences(passages, "turning E-1234")} == {(0, 0), (1, 1)}
    one = _passage("Zander Karpfen Schleie E1234.", "german")
    other = _passage("Zander Karpfen Schleie E1234. Hecht Barsch Forelle E1234.", "english")
    (first, p, _), (second, q, _), _ = best_sentences([one, other], "E1234")
    assert (p, q) == (0, 1)
    # Only its rank makes the second one weigh less.
    assert first == pytest.approx(1.1 * second)


def test_a_passage_is_relevant_by_the_words_of_its_language():
    hit = replace(make_hit("Die Häuser haben alte Turbinen.", similarity=None), language="de")
    named = {"de": words_in("german"), "en": words_in("english")}
    asked = "Haus mit Turbine"
    assert relevant_passages([hit], asked, named.__getitem__, min_similarity=0.35, limit=3)
    english = replace(hit, language="en")
    assert relevant_passages([english], asked, named.__getitem__, min_similarity=0.35, limit=3) == []


def test_a_german_sentence_may_end_with_what_breaks_off_an_english_one():
    for stemmer, expected in (("german", "Die Turbine läuft im Frühjahr an [1]."), ("english", "")):
        text = "Die Turbine läuft im Frühjahr an."
        checker = AnswerChecker([_passage(text, stemmer)], "wann läuft sie an", min_support=0.6)
        shown = [*checker.feed(text), *checker.finish(was_cut=False)]
        assert "".join(shown) == expected


@pytest.mark.parametrize(
    ("release", "grounding"),
    [
        ({"language": "document"}, Grounding.GENERATED),
        ({"language": "german"}, Grounding.GENERATED),
        ({"language": "english"}, Grounding.EXTRACTIVE),
    ],
)
async def test_an_answer_is_checked_by_the_stemmers_of_the_release(release, grounding):
    hit = replace(make_hit("Alte Häuser mit Türmen, Gärten und Bächen."), language="de")
    said = say("Das alte Haus mit Turm, Garten und Bach.")
    retrieval = ScriptedRetrieval(SearchOutcome(release="r1", hits=[hit], **release))
    answerer = Answerer(
        retrieval,
        ScriptedGeneration(said),
        ServingSettings(),
    )
    *_, answer = [step async for step in answerer.answer(Question("gibt es Gärten", PUBLIC, 20))]
    assert isinstance(answer, Answer)
    assert answer.grounding == grounding


async def test_a_passage_of_unknown_language_is_read_by_the_fallback():
    hit = replace(make_hit("Alte Häuser mit Türmen, Gärten und Bächen."), language="und")
    outcome = SearchOutcome(release="r1", hits=[hit], language="document", fallback_language="german")
    said = say("Das alte Haus mit Turm, Garten und Bach.")
    answerer = Answerer(ScriptedRetrieval(outcome), ScriptedGeneration(said), ServingSettings())
    *_, answer = [step async for step in answerer.answer(Question("gibt es Gärten", PUBLIC, 20))]
    assert answer.grounding == Grounding.GENERATED
