"""Small real releases for tests: documents -> chunk rows -> shards -> manifest."""

import json
from datetime import UTC, datetime

import pyarrow as pa

from forebay.chunks import chunk_id, embedded_text
from forebay.documents import content_hash
from forebay.releases import Evaluation, ReleaseManifest
from forebay.settings import IndexSettings
from forebay.store.contract import ShardRef
from forebay.store.qdrant_edge import QdrantEdgeStore
from forebay.store.shard_files import seal, staging_folder
from forebay.testing import HashEmbedder

# Every text has four words that are no stop words, so that equal words weigh equally.
TEXTS_IN_LANGUAGES = {
    "de-haus": ("de", "das Haus am Fluss hat Turbine E-1234"),
    "de-strom": ("de", "der Strom kommt aus alten Maschinen und Kraftwerken"),
    "en-house": ("en", "the house by the river has a turbine E-1234"),
    "en-runs": ("en", "it runs on water and never stops at night"),
    "pl-rzeka": ("pl", "rzeka płynie obok domu"),
    "und": ("und", "pumps"),
}


def rows_in_languages(texts, embedder):
    """Build index rows of {doc_id: (language, text)}."""
    rows = chunk_rows([(doc_id, "", text, {}) for doc_id, (_, text) in texts.items()], embedder)
    for row, (language, _) in zip(rows, texts.values(), strict=True):
        row["language"] = language
    return rows


def chunk_rows(documents, embedder):
    """Build index rows with vectors; `documents` are (doc_id, title, text, metadata)."""
    rows = []
    for doc_id, title, text, metadata in documents:
        (vector,) = embedder.embed_documents([embedded_text(title, "", text)])
        rows.append(
            {
                "chunk_id": chunk_id("test", doc_id, 0),
                "doc_id": doc_id,
                "title": title,
                "heading_path": "",
                "page": 0,
                "text": text,
                "start_char": 0,
                "end_char": len(text),
                "text_hash": content_hash(text),
                "source": "tests",
                "uri": f"{doc_id}.txt",
                "format": "text",
                "language": "en",
                "metadata": json.dumps(metadata),
                "locations": "[]",
                "vector": vector.tolist(),
            }
        )
    return rows


def seal_shard(root, content):
    """Seal a shard of one file, `segment`, that no store can open but every checksum knows; gives its reference."""
    target = root / "s000" / content
    with staging_folder(target) as staging:
        (staging / "segment").write_bytes(content.encode() * 100)
        return seal(staging, target, root=root, number=0, content=content, chunks=12)


def dealt(rows, partitions, index):
    """Deal rows out to partitions; gives the number, content (of these rows and settings) and rows of each with any."""
    parts = [(number, rows[number::partitions]) for number in range(partitions)]
    settings = index.model_dump_json()
    return [(number, content_hash(settings, json.dumps(part)), part) for number, part in parts if part]


def build_release(root, documents, embedder, **how):
    """Build shards under `root` and give the manifest of a release of them; see `build_release_of_rows`."""
    return build_release_of_rows(root, chunk_rows(documents, embedder), embedder, **how)


def build_release_of_rows(root, rows, embedder, *, shards=2, index=None, reduction=None):
    """Build shards of chunk rows under `root` and give the manifest of a release of them."""
    index = index or IndexSettings()
    store = QdrantEdgeStore(root, embedder.spec, index, reduction)
    refs = [
        store.build_shard(number, content, [pa.RecordBatch.from_pylist(part)])
        for number, content, part in dealt(rows, shards, index)
    ]
    return _manifest(embedder, index, refs, len(rows), reduction)


def sealed_release(root, content, **changes):
    """Give the manifest of a release of one such shard: it can be promoted and checked, but not searched."""
    embedder = HashEmbedder()
    return _manifest(embedder, IndexSettings(), [seal_shard(root, content)], 2).model_copy(update=changes)


def cluster_release(embedder, chunks, content, index=None):
    """Give the manifest of a release that lies in a cluster: it has no files."""
    return partitioned_release(embedder, {0: (content, chunks)}, index)


def partitioned_release(embedder, partitions, index=None):
    """Give the manifest of such a release of several partitions: content and number of chunks, by number."""
    refs = [
        ShardRef(number=number, content=content, path="", chunks=chunks, bytes=0, checksum="")
        for number, (content, chunks) in partitions.items()
    ]
    return _manifest(embedder, index or IndexSettings(), refs, sum(ref.chunks for ref in refs))


def _manifest(embedder, index, refs, documents, reduction=None):
    return ReleaseManifest(
        corpus="test",
        embedding=embedder.spec,
        index=index,
        reduction="" if reduction is None else reduction.fingerprint,
        shards=tuple(refs),
        documents=documents,
        table_versions={},
        evaluation=Evaluation(questions=0),
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def sectioned_rows(embedder):
    """Rows of a document with sections, in one of which chunks overlap and one is a tenant's; and of another document.

    Those of `Dam > Gates` before the pumps read "sluice alpha one beta two gamma three secret four", then "delta five".
    """
    parts = [
        ("the intro of all", "", 0, 0, {}),
        ("sluice alpha one", "Dam > Gates", 0, 100, {}),
        ("one beta two", "Dam > Gates", 0, 113, {}),
        ("two gamma three", "Dam > Gates", 0, 122, {}),
        ("three secret four", "Dam > Gates", 0, 132, {"tenant": "acme"}),
        ("delta five", "Dam > Gates", 0, 151, {}),
        ("pumps six", "Dam > Pumps", 0, 200, {}),
        ("sluice seven", "Dam > Gates", 0, 300, {}),
        ("sluice eight", "Dam > Gates", 2, 320, {}),
    ]
    rows = chunk_rows([(f"s{n}", "", text, metadata) for n, (text, *_, metadata) in enumerate(parts)], embedder)
    for row, (text, heading_path, page, start, _) in zip(rows, parts, strict=True):
        row |= {"doc_id": "dam", "heading_path": heading_path, "page": page}
        row |= {"start_char": start, "end_char": start + len(text)}
    return rows + chunk_rows([("other", "", "lock of another document", {})], embedder)
