"""The stores that keep `VectorStore`'s promises, and documents to build them of."""

from forebay.store.contract import SearchRequest
from forebay.store.qdrant_edge import QdrantEdgeStore

STORES = {"qdrant_edge": QdrantEdgeStore}

_TOPICS = ["wing lift", "heat transfer", "boundary layer", "shock wave", "panel flutter"]
DOCUMENTS = [
    (
        f"d{number}",
        f"title {number}",
        f"{_TOPICS[number % 5]} study number{number} of item{number * 7}",
        {"year": 1950 + number},
    )
    for number in range(60)
]


def search(release, embedder, text, **options):
    """Search one text."""
    (vector,) = embedder.embed_queries([text])
    return release.search([SearchRequest(text, vector, **options)])[0]
