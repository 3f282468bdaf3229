"""Spark transforms: which documents to cut, and cutting them."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from forebay.chunks import CHUNKS, ChunkLimits, chunk_id, embedded_text
from forebay.documents import content_hash
from forebay.embedding.tokens import TokenCounter
from forebay.embedding.windows import windowed_hashes
from spark_jobs.broadcasts import broadcast_few
from spark_jobs.chunk_documents.chunker import Chunker, Piece
from spark_jobs.row_batches import batches_of

__all__ = ["chunks_of", "document_changes", "searchable_documents"]

_CARRIED = ("doc_id", "shard", "source", "uri", "format", "language", "metadata", "locations")
_MAX_LOCATIONS = 100


def searchable_documents(
    documents: DataFrame, places: DataFrame, duplicates: DataFrame, *, n_duplicates: int
) -> DataFrame:
    """Leave out duplicates, and give those that stand for them all their locations.

    Args:
        documents: Rows of the document table, `doc_id` and `content_hash` at least.
        places: Columns `doc_id`, `source`, `uri` of all documents.
        duplicates: Columns `doc_id`, `canonical_id`.
        n_duplicates: Rows of `duplicates`.

    Returns:
        The documents that are searched, with the columns `locations` (a JSON list of the first 100 of `source`, `uri`,
        `doc_id`) and `version`, a hash that changes with the content and the locations.
    """
    place = F.struct("source", "uri", "doc_id")
    duplicates = broadcast_few(duplicates, n_duplicates)
    gathered = (
        places.join(duplicates, "doc_id")
        .groupBy("canonical_id")
        .agg(F.to_json(F.slice(F.array_sort(F.collect_list(place)), 1, _MAX_LOCATIONS)).alias("_places"))
    )
    kept = documents.join(duplicates.select("doc_id"), "doc_id", "left_anti")
    # Not more than there are duplicates.
    joined = kept.join(broadcast_few(gathered, n_duplicates), kept["doc_id"] == gathered["canonical_id"], "left")
    version = F.when(F.col("_places").isNull(), F.col("content_hash")).otherwise(
        F.md5(F.concat_ws("\n", "content_hash", "_places"))
    )
    return joined.select(
        *documents.columns, F.coalesce("_places", F.lit("[]")).alias("locations"), version.alias("version")
    )


def document_changes(documents: DataFrame, chunks: DataFrame, chunker: str) -> DataFrame:
    """Compare documents with the documents that chunks were cut from.

    Args:
        documents: Columns `doc_id`, `version`.
        chunks: Columns `doc_id`, `doc_hash`, `chunker` of the chunk table.
        chunker: Fingerprint of the way of cutting.

    Returns:
        Columns `doc_id`, `change`: `new`, `changed`, `unchanged` or `deleted`.
    """
    cut = chunks.distinct().withColumnRenamed("doc_id", "_cut_id")
    joined = documents.join(cut, F.col("doc_id") == F.col("_cut_id"), "full_outer")
    is_current = (F.col("version") == F.col("doc_hash")) & (F.col("chunker") == chunker)
    change = (
        F.when(F.col("doc_id").isNull(), "deleted")
        .when(F.col("_cut_id").isNull(), "new")
        .when(is_current, "unchanged")
        .otherwise("changed")
    )
    return joined.select(F.coalesce("doc_id", "_cut_id").alias("doc_id"), change.alias("change"))


def chunks_of(
    documents: DataFrame, *, corpus: str, model: Path, limits: ChunkLimits, chunker: str, run_id: str
) -> DataFrame:
    """Cut documents into rows of the chunk table."""

    def cut(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        splitter = Chunker(limits, TokenCounter.of(model))
        rows = (row for batch in batches for document in batch.to_pylist() for row in rows_of(splitter, document))
        # A document may have a million chunks, each with all its metadata.
        return batches_of(rows, CHUNKS)

    def rows_of(splitter: Chunker, document: dict[str, str]) -> Iterator[dict[str, object]]:
        pieces = list(splitter.split(document["title"], document["text"], document["format"]))
        hashes = _text_hashes(pieces, limits.window_tokens)
        return _rows(document, pieces, hashes, corpus=corpus, chunker=chunker, run_id=run_id)

    return documents.mapInArrow(cut, from_arrow_schema(CHUNKS))


def _text_hashes(pieces: list[Piece], window_tokens: int | None) -> Iterator[str]:
    texts = [embedded_text(piece.title, piece.heading_path, piece.text) for piece in pieces]
    if window_tokens is None:
        return map(content_hash, texts)
    return windowed_hashes(texts, [piece.n_tokens for piece in pieces], window_tokens)


def _rows(
    document: dict[str, str], pieces: list[Piece], hashes: Iterator[str], *, corpus: str, chunker: str, run_id: str
) -> Iterator[dict[str, object]]:
    for number, (piece, text_hash) in enumerate(zip(pieces, hashes, strict=True)):
        yield {
            **{name: document[name] for name in _CARRIED},
            "chunk_id": chunk_id(corpus, document["doc_id"], number),
            "chunk_no": number,
            "title": piece.title,
            "heading_path": piece.heading_path,
            "page": piece.page,
            "text": piece.text,
            "start_char": piece.start,
            "end_char": piece.end,
            "n_tokens": piece.n_tokens,
            "text_hash": text_hash,
            "doc_hash": document["version"],
            "chunker": chunker,
            "run_id": run_id,
        }
