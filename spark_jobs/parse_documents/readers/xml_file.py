"""XML documents: their text, a block per element."""

from collections.abc import Iterator
from typing import Any

from forebay.documents import RejectionReason
from spark_jobs.parse_documents.readers.contract import Extracted, UnparsableError
from spark_jobs.parse_documents.readers.joining import MAX_TEXT_CHARS, expands_too_far, join_bounded
from spark_jobs.parse_documents.readers.magic import is_binary, wrong_format

__all__ = ["read_xml"]


def read_xml(data: bytes) -> Extracted:
    """Read the text of every element; its title is the first element of that name.

    An entity that the document declares is replaced by its text, unless it stands for other entities, or for a file
    or address: nothing outside the document is ever read.

    Raises:
        UnparsableError: it is no well-formed XML, or its entities multiply.
    """
    from lxml import etree  # pyright: ignore[reportAttributeAccessIssue] (compiled, without stubs)

    if is_binary(data):
        raise wrong_format(data, "an XML document")
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as exc:
        if exc.code == etree.ErrorTypes.ERR_RESOURCE_LIMIT:
            raise UnparsableError(RejectionReason.EXPANDS_TOO_FAR, f"a limit of the XML parser: {exc.msg}") from exc
        if b"<" not in data:
            raise wrong_format(data, "an XML document") from exc
        raise UnparsableError(RejectionReason.PARSER_ERROR, f"no well-formed XML: {exc.msg}") from exc
    texts = _Texts(_entities(root))
    title = next(root.iter("{*}title"), None)
    found = "" if title is None else " ".join("".join(texts.inside(title)).split())
    return Extracted(join_bounded(texts.blocks(root)), "text", found)


def _entities(root: Any) -> dict[str, str]:
    subset = root.getroottree().docinfo.internalDTD
    declared = [] if subset is None else list(subset.iterentities())
    entities: dict[str, str] = {}
    for entity in declared:
        content = entity.content or ""
        if "&" in content and any(f"&{other.name};" in content for other in declared):
            detail = f"the entity {entity.name!r} is made of other entities, as in an entity bomb"
            raise UnparsableError(RejectionReason.EXPANDS_TOO_FAR, detail)
        entities[entity.name] = content
    return entities


class _Texts:
    """Walks a tree; `huge_tree=False` keeps it at most 256 elements deep."""

    def __init__(self, entities: dict[str, str]) -> None:
        self._entities = entities
        self._n_expanded = 0

    def blocks(self, element: Any) -> Iterator[str]:
        """Give the text of an element as one block where it holds text itself, else the blocks of its children."""
        if (element.text or "").strip() or any((child.tail or "").strip() for child in element):
            yield " ".join("".join(self.inside(element)).split())
        else:
            for child in element:
                yield from self._of_child(child, self.blocks)

    def inside(self, element: Any) -> Iterator[str]:
        """Give every piece of text inside an element, in order."""
        yield element.text or ""
        for child in element:
            yield from self._of_child(child, self.inside)
            yield child.tail or ""

    def _of_child(self, child: Any, walk: Any) -> Iterator[str]:
        if isinstance(child.tag, str):
            yield from walk(child)
        else:
            yield self._expanded(child.name)

    def _expanded(self, name: str) -> str:
        # A long entity that is used often grows a file as entities made of entities do.
        text = self._entities.get(name, "")
        self._n_expanded += len(text)
        if self._n_expanded > MAX_TEXT_CHARS:
            raise expands_too_far()
        return text
