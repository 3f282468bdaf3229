"""Answers from passages that came with their section."""

from dataclasses import replace

import httpx
import pytest

from bentos.gateway.app import Backends, create_app
from bentos.gateway.draining import Drain
from bentos.gateway.grounding import AnswerChecker, Citation, quote_passages
from bentos.gateway.passages import Passage, relevant_passages
from bentos.gateway.prompt import build_messages
from bentos.gateway.support import find_support
from bentos.retriever.protocol import SearchOutcome
from forebay.settings import GeneratorSettings, ServingSettings
from forebay.store.contract import SectionPart
from tests.unit.bentos.conftest import ScriptedGeneration, ScriptedRetrieval, make_hit, say

_DOCUMENT = (
    "The forebay fills at night while power is cheap. Its gates are opened by two hydraulic pumps. "
    "Each pump is inspected every spring by a diver. The trash rack upstream catches drifting wood.\n\n"
    "Divers need a permit of the county office."
)
_QUESTION = "who inspects the pumps of the forebay gates"


def _section(*spans):
    """Parts of the chunks that lie at some places of the document, in its order."""
    parts, told = [], 0
    for n, (first, last) in enumerate(spans):
        start, end = _DOCUMENT.index(first), _DOCUMENT.index(last) + len(last)
        cut = max(start, min(told, end))
        parts.append(SectionPart(f"c{n}", cut, end, _DOCUMENT[cut:end], _DOCUMENT[start:cut]))
        told = end
    return parts


# The second chunk begins in the middle of the first one's last sentence, the last is a paragraph of its own.
_PARTS = _section(
    ("The forebay", "hydraulic pumps."), ("two hydraulic", "by a diver."), ("The trash", "wood."), ("Divers", "office.")
)


def _hit(number, parts=_PARTS, **how):
    part = parts[number]
    chunk = part.overlap + part.text
    places = {"start_char": part.end_char - len(chunk), "end_char": part.end_char}
    return replace(make_hit(chunk, **how), chunk_id=part.chunk_id, section=parts, **places)


@pytest.fixture
def passage(words):
    return Passage(_hit(1), words)


def _cited(passages, sentence):
    checker = AnswerChecker(passages, _QUESTION, min_support=0.6)
    shown = [*checker.feed(sentence), *checker.finish(was_cut=False)]
    chunks = [passages[cited.position].parts[cited.part].chunk_id for cited in checker.citations]
    return "".join(shown), chunks


def test_the_sentences_of_a_section_are_told_once_and_whole(passage):
    sentences = [" ".join(sentence.text.split()) for sentence in passage.sentences]
    assert sentences == [
        "The forebay fills at night while power is cheap.",
        "Its gates are opened by two hydraulic pumps.",
        "Each pump is inspected every spring by a diver.",
        "The trash rack upstream catches drifting wood.",
        "Divers need a permit of the county office.",
    ]
    assert [sentence.parts for sentence in passage.sentences] == [(0,), (0,), (1,), (2,), (3,)]
    assert passage.sentences[passage.first].text.startswith("Each pump")


def test_a_sentence_that_two_chunks_hold_is_the_hits_own(words):
    parts = _section(("The forebay", "hydraulic pumps."), ("Its gates", "by a diver."))
    for own in (0, 1):
        sentence = Passage(_hit(own, parts), words).sentences[1]
        assert sentence.parts == (own, 1 - own)


def test_a_sentence_that_chunks_part_is_of_the_one_that_has_most_of_it(words):
    parts = _section(("The forebay", "opened by"), (" two hydraulic", "by a diver."))
    sentence = Passage(_hit(1, parts), words).sentences[1]
    assert (sentence.text, sentence.parts) == ("Its gates are opened by two hydraulic pumps.", (0,))


@pytest.mark.parametrize(("number", "chunk"), [(0, "c0"), (1, "c0"), (2, "c1"), (3, "c2"), (4, "c3")])
def test_a_sentence_of_a_neighbour_is_cited_from_the_chunk_that_holds_it(passage, number, chunk):
    sentence = passage.sentences[number].text
    shown, chunks = _cited([passage], sentence)
    assert shown == sentence.replace(".", " [1].")
    assert chunks == [chunk]


def test_chunks_are_numbered_one_by_one(passage):
    text = "Each pump of the forebay is inspected every spring by a diver. Its gates are opened by two hydraulic pumps."
    shown, chunks = _cited([passage], text)
    assert chunks == ["c1", "c0"]
    assert "diver [1]." in shown
    assert "pumps [2]." in shown


def test_no_sentence_is_evidence_together_with_another_chunks(words, passage):
    sentence = "Each pump is inspected every spring by a diver and the trash rack upstream catches drifting wood."
    together = Passage(replace(passage.hit, section=_section(("The forebay", "wood."))[:1], chunk_id="c0"), words)
    assert find_support(sentence, [together]).share == 1
    assert find_support(sentence, [passage]).share < 0.7


def test_a_quotation_is_of_the_chunk_that_holds_it(passage):
    text, citations = quote_passages([passage], "who opens the gates with hydraulic pumps")
    assert text == '"Its gates are opened by two hydraulic pumps" [1].'
    assert citations == [Citation(1, 0, 0)]
    text, citations = quote_passages([passage], "zebra")
    assert text == '"Each pump is inspected every spring by a diver" [1].'
    assert citations == [Citation(1, 0, 1)]


def test_the_generator_reads_the_best_of_the_section_within_its_budget(passage):
    def read(question, tokens):
        return build_messages([passage], question, max_tokens=tokens)[1]["content"].split("\n\nQuestion:")[0]

    assert " ".join(read("what is it", 1000).split()) == "[1] Each pump is inspected every spring by a diver."
    whole = read("forebay gates pump trash rack diver permit county office", 1000)
    assert whole.removeprefix("[1] ").split() == _DOCUMENT.split()
    assert read("which permit do divers need", 13) == "[1] Divers need a permit of the county office."


def test_no_two_passages_have_a_chunk_in_common(words):
    first, inside, across = _hit(1, _PARTS[:3]), _hit(2), _hit(3)
    elsewhere = make_hit("The forebay of another plant.", doc_id="d2")
    hits = [first, inside, across, elsewhere]
    found = relevant_passages(hits, _QUESTION, lambda _: words, min_similarity=0.35, limit=3)
    assert [[part.chunk_id for part in passage.parts] for passage in found] == [
        ["c0", "c1", "c2"],
        ["c3"],
        [elsewhere.chunk_id],
    ]
    assert [len(passage.sentences) for passage in found] == [4, 1, 1]


def test_a_sentence_that_ends_beyond_an_earlier_passage_is_whole_in_the_later_one(words):
    parts = _section(("The forebay", "opened by two"), ("Its gates", "by a diver."))
    hits = [replace(_hit(0, parts), section=parts[:1]), _hit(1, parts)]
    passages = relevant_passages(hits, _QUESTION, lambda _: words, min_similarity=0.35, limit=2)
    assert [[part.chunk_id for part in passage.parts] for passage in passages] == [["c0"], ["c1"]]
    sentence = "Its gates are opened by two hydraulic pumps."
    assert passages[1].sentences[0].text == sentence
    assert _cited(passages, sentence) == (sentence.replace(".", " [1]."), ["c1"])


# The last chunk shares text with both of those before it.
_SHARED = _section(
    ("The forebay", "opened by two"),
    ("Its gates", "hydraulic pumps. Each"),
    ("hydraulic pumps.", "by a diver. The trash"),
    ("Each pump", "drifting wood."),
)


@pytest.mark.parametrize("taken", [(0,), (1,), (0, 1), (2,), (0, 2), (0, 1, 2)])
def test_what_is_left_of_a_section_has_its_chunks_whole_and_no_text_twice(words, taken):
    # Each of the others is a passage of its own.
    hits = [*(replace(_hit(n, _SHARED), section=_SHARED[n : n + 1]) for n in taken), _hit(3, _SHARED)]
    passage = relevant_passages(hits, _QUESTION, lambda _: words, min_similarity=0.35, limit=9)[-1]
    left = [part for n, part in enumerate(_SHARED) if n not in taken]
    assert [part.overlap + part.text for part in passage.parts] == [part.overlap + part.text for part in left]
    assert all(_DOCUMENT[part.start_char : part.end_char] == part.text for part in passage.parts)
    told = [at for part in passage.parts for at in range(part.start_char, part.end_char)]
    held = {at for part in left for at in range(part.start_char - len(part.overlap), part.end_char)}
    assert told == sorted(held)


@pytest.mark.parametrize("is_on", [False, True])
async def test_a_chat_reads_and_cites_sections_only_where_it_is_set(is_on):
    app = create_app()
    found = replace(_hit(1), section=_PARTS if is_on else ())
    retrieval = ScriptedRetrieval(SearchOutcome(release="r1", hits=[found]))
    said = "The trash rack upstream catches drifting wood. Each pump is inspected every spring by a diver."
    generation = ScriptedGeneration(say(said))
    settings = ServingSettings(**({"context_sections": True} if is_on else {}))
    app.state.backends = Backends(retrieval, generation, settings, GeneratorSettings(), Drain(1))
    question = "which rack and which pump are by the forebay"
    body = {"model": "forebay", "messages": [{"role": "user", "content": question}]}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as caller:
        message = (await caller.post("/v1/chat/completions", json=body)).json()["choices"][0]["message"]
    assert retrieval.items[0].section is is_on
    read = generation.requests[0].messages[1]["content"]
    assert ("The trash rack" in read) is is_on
    cited = {c["chunk_id"]: (c["n"], c["passage"], c["start_char"], c["end_char"]) for c in message["citations"]}
    own = "two hydraulic pumps. Each pump is inspected every spring by a diver."
    rack = "The trash rack upstream catches drifting wood."
    expected = {"c2": (1, rack), "c1": (2, own)} if is_on else {"c1": (1, own)}
    places = {chunk: _DOCUMENT.index(text) for chunk, (_, text) in expected.items()}
    assert cited == {c: (n, text, places[c], places[c] + len(text)) for c, (n, text) in expected.items()}
    assert ("drifting wood [1]." in message["content"]) is is_on
