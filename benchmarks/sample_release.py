"""The release of `samples/cranfield` that retrieval quality is measured on, and the halves of its questions."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.machine import SAMPLE, ingest
from forebay.embedding import Embedder
from forebay.embedding.sentence_transformer import load_embedder
from forebay.golden import GoldenQuestions
from forebay.releases import ReleaseRegistry
from forebay.settings import PathSettings
from forebay.store.qdrant_edge import QdrantEdgeRelease, QdrantEdgeStore


@contextmanager
def sample_release() -> Iterator[tuple[QdrantEdgeRelease, Embedder]]:
    """Run the pipeline over the sample, and open the release that it made beside the embedder of its vectors."""
    with tempfile.TemporaryDirectory(prefix="forebay-bench-") as folder:
        ingest(SAMPLE, Path(folder))
        paths = PathSettings(data=Path(folder))
        manifest = ReleaseRegistry(paths.releases).current()
        if manifest is None:
            raise SystemExit("the pipeline made no release")
        embedder = load_embedder(manifest.embedding, paths.models)
        release = QdrantEdgeStore(paths.shards, manifest.embedding, manifest.index).open(manifest)
        try:
            yield release, embedder
        finally:
            release.close()


def sample_questions() -> GoldenQuestions:
    """Read the sample's questions."""
    return GoldenQuestions.load(SAMPLE / "queries.jsonl", SAMPLE / "qrels.tsv")


def halves(golden: GoldenQuestions) -> tuple[GoldenQuestions, GoldenQuestions]:
    """Divide the judged questions: every other one to tune on, and the rest, which is held out, to report."""
    judged = [query_id for query_id in golden.queries if golden.qrels.get(query_id)]
    tuning, held_out = (
        GoldenQuestions(golden.queries, {query_id: golden.qrels[query_id] for query_id in half})
        for half in (judged[::2], judged[1::2])
    )
    return tuning, held_out
