import random

from forebay.store.contract import Hit, SearchRequest, SectionPart
from forebay.store.neighbours import MAX_SECTION_CHUNKS, Place, with_chunks_around

_TEXT = " ".join(f"word{number}" for number in range(200))


def _chunk(start, end):
    return SectionPart(f"c{start:04d}", start, end, _TEXT[start:end])


def _hit(chunk):
    known = {"doc_id": "d", "title": "", "uri": "", "source": "", "heading_path": "h", "text_hash": ""}
    places = {"start_char": chunk.start_char, "end_char": chunk.end_char}
    return Hit(chunk_id=chunk.chunk_id, text=chunk.text, score=1.0, similarity=None, **known, **places)


def _sections(chunks, hits, missing=()):
    held = {chunk.chunk_id: chunk for chunk in chunks if chunk not in missing}
    places = [Place("d", chunk.start_char, chunk.chunk_id, "h", 0) for chunk in chunks]
    random.Random(1).shuffle(places)
    request = SearchRequest("", None, section=True)

    def read(ids):
        return {one: held[one] for one in ids if one in held}

    return [hit.section for hit in with_chunks_around([_hit(hit) for hit in hits], request, places, read)]


def test_a_section_ends_so_many_chunks_from_the_hit():
    chunks = [_chunk(start, start + 30) for start in range(0, 900, 30)]
    middle, first = _sections(chunks, [chunks[15], chunks[0]])
    assert [part.chunk_id for part in middle] == [chunk.chunk_id for chunk in chunks[7:24]]
    assert MAX_SECTION_CHUNKS == 8
    assert [part.chunk_id for part in first] == [chunk.chunk_id for chunk in chunks[:9]]


def test_overlapping_chunks_tell_their_text_once_and_each_is_still_whole():
    random_places = random.Random(7)
    chunks = [_chunk(0, 60)]
    while len(chunks) < 8:
        start = chunks[-1].end_char - random_places.choice([0, 1, 20])
        chunks.append(_chunk(start, start + random_places.randint(40, 70)))
    for section in _sections(chunks, chunks):
        assert "".join(part.text for part in section) == _TEXT[: chunks[-1].end_char]
        assert [part.overlap + part.text for part in section] == [chunk.text for chunk in chunks]
        assert all(_TEXT[part.start_char : part.end_char] == part.text for part in section)


def test_a_chunk_inside_another_adds_nothing():
    chunks = [_chunk(0, 100), _chunk(20, 60), _chunk(90, 130)]
    (section,) = _sections(chunks, [chunks[1]])
    assert [part.text for part in section] == [_TEXT[0:100], "", _TEXT[100:130]]
    assert section[1].overlap == chunks[1].text


def test_what_went_away_in_between_is_left_out_but_never_the_hit():
    chunks = [_chunk(0, 20), _chunk(20, 40), _chunk(40, 60)]
    (section,) = _sections(chunks, [chunks[1]], missing=chunks[:2])
    assert [part.chunk_id for part in section] == [chunks[1].chunk_id, chunks[2].chunk_id]
