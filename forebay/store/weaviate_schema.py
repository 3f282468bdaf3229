"""What a Weaviate collection of chunks looks like, and a chunk as one of its objects."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from weaviate import WeaviateClient
from weaviate.classes.config import Configure, DataType, Property, Tokenization, VectorDistances

from forebay.chunks import embedded_text
from forebay.errors import ConfigurationError
from forebay.settings import IndexSettings, WeaviateSettings
from forebay.store.filters import CHUNK_FIELDS
from forebay.store.range_terms import RANGE_TERMS, range_terms
from forebay.store.stems import STEMS, ChunkStems
from forebay.store.terms import METADATA_TERMS, metadata_terms

__all__ = [
    "LOAD",
    "PARTITION",
    "RETURNED",
    "WRITTEN",
    "chunk_properties",
    "collection_name",
    "create_collection",
    "creation_time",
]

PARTITION = "partition"
"""Property: number of the partition that loads the chunk."""
LOAD = "load"
"""Property: content of the partition when it loaded the chunk; another one means that the chunk is stale."""
WRITTEN = ("title_words", "heading_path", "text")
"""Properties that BM25 looks at where earlier versions of Forebay loaded words as they are written, and no stems."""
_NUMBERS = ("page", "start_char", "end_char")
_STORED = ("heading_path", "text", "text_hash", "metadata", "locations")
RETURNED = (*CHUNK_FIELDS, *_NUMBERS, *_STORED)
"""Properties that a hit is made of."""

_CREATED = "Chunks of a Forebay release, created "

_QUANTIZERS = {
    "int8": Configure.VectorIndex.Quantizer.rq(bits=8),
    "binary": Configure.VectorIndex.Quantizer.rq(bits=1),
    "none": Configure.VectorIndex.Quantizer.none(),
}


def collection_name(alias: str, release_id: str) -> str:
    """Name the collection of a release: the same content always gives the same name."""
    return f"{alias}_{release_id}"


def create_collection(client: WeaviateClient, name: str, index: IndexSettings, settings: WeaviateSettings) -> None:
    """Create an empty collection for vectors that we bring.

    Raises:
        ConfigurationError: the index settings ask for what Weaviate doesn't do.
    """
    quantizer = _QUANTIZERS.get(index.quantization)
    if quantizer is None or index.reduction != "none":
        raise ConfigurationError(
            f"the Weaviate store can't do quantization {index.quantization!r} with reduction {index.reduction!r}; use "
            f"one of {', '.join(_QUANTIZERS)} without reduction."
        )
    client.collections.create(
        name,
        description=f"{_CREATED}{datetime.now(UTC).isoformat()}",
        properties=_properties(),
        vector_config=Configure.Vectors.self_provided(
            quantizer=quantizer,
            vector_index_config=Configure.VectorIndex.hnsw(
                distance_metric=VectorDistances.COSINE,
                ef_construction=index.hnsw_ef_construct,
                max_connections=index.hnsw_m,
            ),
        ),
        inverted_index_config=Configure.inverted_index(bm25_b=index.bm25_b, bm25_k1=index.bm25_k),
        # Each tenant is one shard; Weaviate refuses to be told another number.
        sharding_config=None if index.tenants else Configure.sharding(desired_count=settings.shards),
        replication_config=Configure.replication(factor=settings.replication_factor),
        # A tenant that an operator let go to sleep wakes when it is asked; one that isn't loaded has no documents.
        multi_tenancy_config=Configure.multi_tenancy(auto_tenant_creation=False, auto_tenant_activation=True)
        if index.tenants
        else None,
    )


def creation_time(description: str | None) -> datetime | None:
    """Read when a collection was created from its description; None where earlier versions of Forebay created it."""
    try:
        return datetime.fromisoformat((description or "").removeprefix(_CREATED))
    except ValueError:
        return None


def _properties() -> list[Property]:
    return [
        *(_exact(name) for name in (*CHUNK_FIELDS, LOAD)),
        _exact(METADATA_TERMS, DataType.TEXT_ARRAY),
        _exact(RANGE_TERMS, DataType.TEXT_ARRAY),
        Property(name=PARTITION, data_type=DataType.INT, index_filterable=True, index_range_filters=False),
        Property(
            name=STEMS,
            data_type=DataType.TEXT,
            tokenization=Tokenization.WHITESPACE,
            index_filterable=False,
            index_searchable=True,
        ),
        *(Property(name=name, data_type=DataType.INT, index_filterable=False) for name in _NUMBERS),
        *(
            Property(name=name, data_type=DataType.TEXT, index_filterable=False, index_searchable=False)
            for name in _STORED
        ),
    ]


def _exact(name: str, data_type: DataType = DataType.TEXT) -> Property:
    """Describe a property that filters compare as a whole."""
    return Property(
        name=name,
        data_type=data_type,
        tokenization=Tokenization.FIELD,
        index_filterable=True,
        index_searchable=False,
    )


def chunk_properties(row: Mapping[str, Any], number: int, content: str, reader: ChunkStems) -> dict[str, Any]:
    """Give the properties of a chunk.

    Args:
        row: The chunk, as the chunk table has it.
        number: Number of its partition.
        content: Content of the partition.
        reader: Reads the chunks of the release.
    """
    metadata = json.loads(row["metadata"])
    return {name: row[name] for name in RETURNED} | {
        STEMS: reader.read(embedded_text(row["title"], row["heading_path"], row["text"]), row["language"]),
        METADATA_TERMS: metadata_terms(metadata),
        RANGE_TERMS: range_terms(metadata),
        PARTITION: number,
        LOAD: content,
    }
