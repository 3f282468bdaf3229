"""nDCG@10 and recall@100 of hybrid, dense and BM25 search on `samples/cranfield`; `make bench-quality`."""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.machine import SAMPLE, ingest, report
from forebay.golden import GoldenQuestions
from forebay.releases import ReleaseRegistry
from forebay.settings import PathSettings
from forebay.store.contract import SearchMode
from quality.evaluate import evaluate_release


def _held_out(golden: GoldenQuestions) -> GoldenQuestions:
    """Every second judged question; what is tuned is tuned on the others."""
    judged = [query_id for query_id in golden.queries if golden.qrels.get(query_id)][1::2]
    return GoldenQuestions(golden.queries, {query_id: golden.qrels[query_id] for query_id in judged})


def main() -> None:
    golden = GoldenQuestions.load(SAMPLE / "queries.jsonl", SAMPLE / "qrels.tsv")
    with tempfile.TemporaryDirectory(prefix="forebay-bench-") as folder:
        ingest(SAMPLE, Path(folder))
        paths = PathSettings(data=Path(folder))
        manifest = ReleaseRegistry(paths.releases).current()
        if manifest is None:
            raise SystemExit("the pipeline made no release")
        figures = evaluate_release(manifest, golden, paths, list(SearchMode))
        held_out = evaluate_release(manifest, _held_out(golden), paths, [SearchMode.HYBRID])[SearchMode.HYBRID]
    for mode, measured in figures.items():
        print(f"{mode.value:<8} nDCG@10 {measured.ndcg10:.4f}  recall@100 {measured.recall100:.4f}")
    hybrid = figures[SearchMode.HYBRID]
    report(
        {
            "ndcg10_hybrid": hybrid.ndcg10,
            "ndcg10_hybrid_interval": hybrid.intervals["ndcg10"],
            "ndcg10_heldout": held_out.ndcg10,
            "ndcg10_dense": figures[SearchMode.DENSE].ndcg10,
            "ndcg10_bm25": figures[SearchMode.BM25].ndcg10,
            "mrr10_hybrid": hybrid.mrr10,
            "recall100_hybrid": hybrid.recall100,
            "questions": len(golden.qrels),
            "chunks": manifest.chunks,
        }
    )


if __name__ == "__main__":
    main()
