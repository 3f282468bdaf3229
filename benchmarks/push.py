"""What a second push costs after 1% of the documents changed, shards rebuilt incrementally; vectors are clustered."""

import argparse
import json
import random
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pyarrow as pa

from benchmarks.machine import SAMPLE, report
from forebay.block_store import BlockStore
from forebay.chunks import chunk_id
from forebay.documents import content_hash
from forebay.embedding.spec import EmbeddingSpec
from forebay.release_transfer import pull, push
from forebay.releases import Evaluation, ReleaseManifest, ReleaseRegistry
from forebay.settings import IndexSettings
from forebay.store.contract import ShardBase, ShardRef
from forebay.store.qdrant_edge import QdrantEdgeStore

_DIM = 384
_CLUSTERS = 200


def _row(number: int, version: int, sentences: list[str]) -> dict[str, Any]:
    doc_id, generator = f"doc-{number}", random.Random(f"{number}-{version}")
    text = " ".join(generator.choices(sentences, k=6))
    noise = np.random.default_rng((number, version)).standard_normal(_DIM)
    centre = np.random.default_rng(number % _CLUSTERS).standard_normal(_DIM)
    vector = (centre + noise).astype(np.float32)
    return {
        "chunk_id": chunk_id("push", doc_id, 0),
        "doc_id": doc_id,
        "title": generator.choice(sentences)[:60],
        "heading_path": "",
        "page": 0,
        "text": text,
        "start_char": 0,
        "end_char": len(text),
        "text_hash": content_hash(text),
        "source": "benchmark",
        "uri": f"{doc_id}.txt",
        "format": "text",
        "language": "en",
        "metadata": "{}",
        "locations": "[]",
        "vector": (vector / np.linalg.norm(vector)).tolist(),
    }


def main() -> None:
    """Build, push, change, rebuild, push again, pull both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=20_000)
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--changed", type=float, default=0.01)
    options = parser.parse_args()
    lines = (SAMPLE / "corpus.jsonl").read_text("utf-8").splitlines()
    sentences = [part for line in lines for part in json.loads(line)["text"].split(" . ") if len(part) > 40]
    spec = EmbeddingSpec(model="fake:clusters", revision="1", dim=_DIM, max_tokens=256, precision="fp32", engine="none")
    index = IndexSettings()
    # Every shard is touched: the changed documents are scattered evenly.
    changed = set(random.Random(0).sample(range(options.chunks), int(options.chunks * options.changed)))
    with tempfile.TemporaryDirectory() as name:
        here, there, remote = Path(name) / "here", Path(name) / "there", BlockStore(f"{name}/store")
        registry, edge = ReleaseRegistry(here / "releases"), QdrantEdgeStore(here / "shards", spec, index)

        def build(version: int, bases: list[ShardRef]) -> ReleaseManifest:
            refs: list[ShardRef] = []
            for shard in range(options.shards):
                numbers = [n for n in range(shard, options.chunks, options.shards) if version == 0 or n in changed]
                rows = [_row(number, version, sentences) for number in numbers]
                base = ShardBase(bases[shard], [row["chunk_id"] for row in rows]) if bases else None
                content = content_hash(str(version), str(shard))
                refs.append(edge.build_shard(shard, content, [pa.RecordBatch.from_pylist(rows)], base))
            return registry.save(
                ReleaseManifest(
                    corpus="push",
                    embedding=spec,
                    index=index,
                    shards=tuple(refs),
                    documents=options.chunks,
                    table_versions={},
                    evaluation=Evaluation(questions=0),
                    created_at=datetime.now(UTC),
                )
            )

        first = build(0, [])
        start = time.perf_counter()
        pushed = push(registry, here / "shards", first.release_id, remote)
        push_s = time.perf_counter() - start
        print(pushed)
        second = build(1, list(first.shards))
        again = push(registry, here / "shards", second.release_id, remote)
        print(again)
        replica = ReleaseRegistry(there / "releases")
        start = time.perf_counter()
        pull(replica, there / "shards", first.release_id, remote)
        pull_s = time.perf_counter() - start
        print(pull(replica, there / "shards", second.release_id, remote))
        replica.promote(second.release_id, shards=there / "shards")
    report(
        {
            "first_push_bytes": pushed.moved_bytes,
            "second_push_bytes": again.moved_bytes,
            "ratio": round(again.moved_bytes / pushed.moved_bytes, 4),
            "push_s": round(push_s, 2),
            "pull_s": round(pull_s, 2),
        }
    )


if __name__ == "__main__":
    main()
