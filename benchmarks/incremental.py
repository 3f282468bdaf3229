"""What a re-run costs on `samples/cranfield`: with nothing changed, and with one changed document of 1,400."""

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.machine import SAMPLE, ingest, report
from forebay.embedding.sentence_transformer import resolve_spec
from forebay.releases import ReleaseManifest, ReleaseRegistry
from forebay.settings import EmbeddingSettings, PathSettings
from forebay.tables import embedding_table


def _state(paths: PathSettings) -> tuple[ReleaseManifest, set[str]]:
    manifest = ReleaseRegistry(paths.releases).current()
    vectors = embedding_table(paths.tables, resolve_spec(EmbeddingSettings(), paths)).published()
    if manifest is None or vectors is None:
        raise SystemExit("the pipeline made no release")
    return manifest, set(vectors.to_table(columns=["text_hash"])["text_hash"].to_pylist())


def _run(source: Path, paths: PathSettings) -> dict[str, object]:
    before = _state(paths) if paths.releases.exists() else None
    began = time.monotonic()
    ingest(source, paths.data)
    seconds = round(time.monotonic() - began, 1)
    manifest, vectors = _state(paths)
    old_shards = set() if before is None else set(before[0].shards)
    old_vectors = set() if before is None else before[1]
    return {
        "seconds": seconds,
        "embedded": len(vectors - old_vectors),
        "shards_built": len(set(manifest.shards) - old_shards),
        "release": manifest.release_id,
    }


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="forebay-bench-") as folder:
        source, paths = Path(folder) / "source", PathSettings(data=Path(folder) / "data")
        shutil.copytree(SAMPLE, source)
        runs = {"full": _run(source, paths), "unchanged": _run(source, paths)}
        corpus = source / "corpus.jsonl"
        lines = corpus.read_text("utf-8").splitlines()
        lines[700] = json.dumps({**json.loads(lines[700]), "text": "a changed text about ornithopters ."})
        corpus.write_text("\n".join(lines), "utf-8")
        runs["one_changed"] = _run(source, paths)
    for name, figures in runs.items():
        print(name, figures)
    report(
        {f"{name}_{key}": value for name, figures in runs.items() for key, value in figures.items() if key != "release"}
        | {"unchanged_release_is_the_same": runs["full"]["release"] == runs["unchanged"]["release"]}
    )


if __name__ == "__main__":
    main()
