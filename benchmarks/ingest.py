"""Parse, chunk and check 20,000 and 200,000 generated documents: rate per core, growth, memory."""

import argparse
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.generated_corpus import write_documents
from benchmarks.machine import report
from benchmarks.watched_run import WatchedRun, run_assets

_ASSETS = ["documents", "chunks"]


def _run(folder: Path, n_documents: int) -> WatchedRun:
    source = folder / f"source-{n_documents}"
    write_documents(source, n_documents)
    run = run_assets(_ASSETS, [str(source)], folder / f"data-{n_documents}")
    rows = run.assets["documents"]["dagster/row_count"]
    if rows != n_documents:
        raise SystemExit(f"the table holds {rows} documents of {n_documents}")
    mib = run.peak_bytes / 2**20
    stages = {name: run.assets[name]["seconds"] for name in _ASSETS}
    print(
        f"{n_documents} documents: {run.seconds:.1f} s ({stages}), start-up {run.startup_s:.1f} s, peak {mib:.0f} MiB"
    )
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=200_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="forebay-bench-") as name:
        folder = Path(name)
        small = _run(folder, options.documents // 10)
        large = _run(folder, options.documents)
    cores = os.cpu_count() or 1
    report(
        {
            "docs_per_s_core": round(options.documents / large.seconds / cores, 1),
            "growth_10x": round(large.seconds / small.seconds, 2),
            "peak_mb": round(max(large.peak_bytes, small.peak_bytes) / 1e6),
            "peak_mb_small": round(small.peak_bytes / 1e6),
            "documents": options.documents,
            "seconds": round(large.seconds, 1),
            "chunks": large.assets["chunks"]["dagster/row_count"],
        }
    )


if __name__ == "__main__":
    main()
