"""The chunks around a hit in its document: its neighbours, and its section."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from forebay.store.contract import Hit, SearchRequest, SectionPart

__all__ = ["MAX_SECTION_CHUNKS", "Place", "is_expanded", "told_once", "with_chunks_around"]

MAX_SECTION_CHUNKS = 8
"""Most chunks of a hit's section on either side of it."""


@dataclass(frozen=True, order=True)
class Place:
    """Where a chunk stands; places sort in the order of their documents."""

    doc_id: str
    """Its document."""
    start_char: int
    """Start in the document's text."""
    chunk_id: str
    """The chunk."""
    heading_path: str
    """Headings above it."""
    page: int
    """Page or slide; 0 where the document has none."""

    @property
    def section(self) -> tuple[str, int]:
        """What chunks of one section share, and those of two that follow each other under equal headings."""
        return self.heading_path, self.page


@dataclass(frozen=True)
class _Around:
    """Ids of the chunks around a hit, in the order of the document."""

    neighbours: tuple[list[str], list[str]]
    """Before and after it, as many as were asked for."""
    section: tuple[list[str], list[str]]
    """Before and after it, as far as its section goes."""


def is_expanded(request: SearchRequest) -> bool:
    """Say whether hits are to come with chunks around them."""
    return request.neighbours > 0 or request.section


def with_chunks_around(
    hits: Sequence[Hit],
    request: SearchRequest,
    places: Iterable[Place],
    read: Callable[[Sequence[str]], Mapping[str, SectionPart]],
) -> list[Hit]:
    """Give the hits with what the request wants to be around them.

    Args:
        hits: What was found.
        request: Says what is wanted.
        places: The chunks of the hits' documents that the caller may find; a hit that isn't among them stays alone.
        read: Reads chunks by their ids; those that are gone may be missing.
    """
    documents: dict[str, list[Place]] = defaultdict(list)
    for place in sorted(places):
        documents[place.doc_id].append(place)
    around = {hit.chunk_id: _around(hit.chunk_id, documents[hit.doc_id], request) for hit in hits}
    wanted = {one for found in around.values() for ids in (*found.neighbours, *found.section) for one in ids}
    chunks = read(sorted(wanted)) if wanted else {}

    def held(ids: Sequence[str]) -> list[SectionPart]:
        return [chunks[one] for one in ids if one in chunks]

    expanded: list[Hit] = []
    for hit in hits:
        before, after = (held(ids) for ids in around[hit.chunk_id].neighbours)
        hit = replace(hit, before=[chunk.text for chunk in before], after=[chunk.text for chunk in after])
        above, below = (held(ids) for ids in around[hit.chunk_id].section)
        expanded.append(replace(hit, section=_section(hit, above, below)) if request.section else hit)
    return expanded


def told_once(parts: Iterable[SectionPart]) -> list[SectionPart]:
    """Divide text and overlap of chunks so that no text stands in two parts, and none is missing.

    Args:
        parts: Each of one chunk, in the order of the document, however they were divided before.
    """
    divided: list[SectionPart] = []
    told = 0
    for part in parts:
        chunk, begin = part.overlap + part.text, part.start_char - len(part.overlap)
        start = min(max(told, begin), part.end_char)
        cut = start - begin
        divided.append(replace(part, start_char=start, text=chunk[cut:], overlap=chunk[:cut]))
        told = max(told, part.end_char)
    return divided


def _around(chunk_id: str, document: Sequence[Place], request: SearchRequest) -> _Around:
    ids = [place.chunk_id for place in document]
    if chunk_id not in ids:
        return _Around(([], []), ([], []))
    at, count = ids.index(chunk_id), request.neighbours
    neighbours = ids[max(0, at - count) : at], ids[at + 1 : at + 1 + count]
    if not request.section:
        return _Around(neighbours, ([], []))

    def inside(places: Sequence[Place]) -> list[str]:
        return [place.chunk_id for place in takewhile(lambda place: place.section == document[at].section, places)]

    above = inside(document[max(0, at - MAX_SECTION_CHUNKS) : at][::-1])[::-1]
    return _Around(neighbours, (above, inside(document[at + 1 : at + 1 + MAX_SECTION_CHUNKS])))


def _section(hit: Hit, above: Sequence[SectionPart], below: Sequence[SectionPart]) -> list[SectionPart]:
    own = SectionPart(hit.chunk_id, hit.start_char, hit.end_char, hit.text)
    return told_once([*above, own, *below])
