"""Retrieval quality of a release on golden questions."""

from collections.abc import Iterable, Sequence

import ir_measures
from ir_measures import R, nDCG

from forebay.embedding import Embedder
from forebay.golden import GoldenQuestions
from forebay.releases import Evaluation
from forebay.store.access import EVERYTHING
from forebay.store.contract import Hit, OpenRelease, SearchMode, SearchRequest

__all__ = ["evaluate", "rank_documents"]

_DOCUMENTS = 100
# Chunks asked for, so that 100 different documents are among them.
_CHUNKS = 400
_BATCH = 32


def evaluate(
    release: OpenRelease, embedder: Embedder, golden: GoldenQuestions, mode: SearchMode = SearchMode.HYBRID
) -> Evaluation:
    """Ask every judged question and compute nDCG@10 and recall@100 over documents (with ir-measures)."""
    asked = [query_id for query_id in golden.queries if golden.qrels.get(query_id)]
    results: list[ir_measures.ScoredDoc] = []
    for start in range(0, len(asked), _BATCH):
        batch = asked[start : start + _BATCH]
        texts = [golden.queries[query_id] for query_id in batch]
        vectors = embedder.embed_queries(texts)
        requests = [
            SearchRequest(text, vector, _CHUNKS, mode, caller=EVERYTHING)
            for text, vector in zip(texts, vectors, strict=True)
        ]
        for query_id, hits in zip(batch, release.search(requests), strict=True):
            results += _scored(query_id, rank_documents(hits))
    if not asked:
        return Evaluation(questions=0)
    qrels = [
        ir_measures.Qrel(query_id, doc_id, grade)
        for query_id in asked
        for doc_id, grade in golden.qrels[query_id].items()
    ]
    values = ir_measures.calc_aggregate([nDCG @ 10, R @ _DOCUMENTS], qrels, results)
    return Evaluation(
        questions=len(asked),
        ndcg10=round(float(values[nDCG @ 10]), 6),
        recall100=round(float(values[R @ _DOCUMENTS]), 6),
        questions_hash=golden.fingerprint,
    )


def rank_documents(hits: Iterable[Hit]) -> list[str]:
    """Rank documents by their best passage."""
    return list(dict.fromkeys(hit.doc_id for hit in hits))


def _scored(query_id: str, documents: Sequence[str]) -> list[ir_measures.ScoredDoc]:
    # ir-measures sorts by score, so the rank stands in for it.
    return [ir_measures.ScoredDoc(query_id, doc_id, float(-rank)) for rank, doc_id in enumerate(documents[:_DOCUMENTS])]
