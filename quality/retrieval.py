"""Retrieval quality of a release on golden questions, and how much of it the index costs."""

from collections.abc import Iterable, Sequence

import ir_measures
from ir_measures import RR, R, nDCG

from forebay.embedding import Embedder
from forebay.errors import ModelError
from forebay.golden import GoldenQuestions
from forebay.releases import Evaluation
from forebay.reranking import Reranker, RerankStatus
from forebay.store.access import EVERYTHING
from forebay.store.contract import SEARCH_VERSION, Hit, OpenRelease, SearchMode, SearchRequest
from forebay.store.fusion import Fusion
from quality.intervals import mean_interval

__all__ = ["evaluate", "rank_documents"]

_DOCUMENTS = 100
# So many that 100 different documents are among them.
_CHUNKS = 400
_BATCH = 32
_MEASURES = {"ndcg10": nDCG @ 10, "mrr10": RR @ 10, "recall100": R @ _DOCUMENTS}


def evaluate(
    release: OpenRelease,
    embedder: Embedder,
    golden: GoldenQuestions,
    mode: SearchMode = SearchMode.HYBRID,
    *,
    feedback: bool = True,
    fusion: Fusion = "rrf",
    chunks: int = _CHUNKS,
    reranker: Reranker | None = None,
) -> Evaluation:
    """Ask every judged question and compute nDCG@10, MRR@10 and recall@100 over documents (with ir-measures).

    Args:
        release: What is asked.
        embedder: Of its vectors.
        golden: Questions and judgements.
        mode: Legs to use.
        feedback: As `SearchRequest.feedback`.
        fusion: As `SearchRequest.fusion`.
        chunks: Hits asked for, so the least that each leg gives as candidates; recall@100 needs hundreds.
        reranker: Orders the first hits anew, however long that takes; none if None.

    Raises:
        ModelError: the reranker failed.
    """
    asked = [query_id for query_id in golden.queries if golden.qrels.get(query_id)]
    results: list[ir_measures.ScoredDoc] = []
    for start in range(0, len(asked), _BATCH):
        batch = asked[start : start + _BATCH]
        texts = [golden.queries[query_id] for query_id in batch]
        vectors = embedder.embed_queries(texts)
        requests = [
            SearchRequest(text, vector, chunks, mode, caller=EVERYTHING, feedback=feedback, fusion=fusion)
            for text, vector in zip(texts, vectors, strict=True)
        ]
        found = release.search(requests)
        if reranker is not None:
            found = _reranked(reranker, texts, found)
        for query_id, hits in zip(batch, found, strict=True):
            results += _scored(query_id, rank_documents(hits))
    if not asked:
        return Evaluation(questions=0)
    qrels = [
        ir_measures.Qrel(query_id, doc_id, grade)
        for query_id in asked
        for doc_id, grade in golden.qrels[query_id].items()
    ]
    by_question = {
        name: {metric.query_id: float(metric.value) for metric in ir_measures.iter_calc([measure], qrels, results)}
        for name, measure in _MEASURES.items()
    }
    # What found nothing at all counts as nothing.
    values = {name: [found.get(query_id, 0.0) for query_id in asked] for name, found in by_question.items()}
    return Evaluation(
        questions=len(asked),
        **{name: round(sum(scores) / len(scores), 6) for name, scores in values.items()},
        intervals={name: interval for name, scores in values.items() if (interval := mean_interval(scores))},
        ndcg10_by_question=dict(zip(asked, (round(score, 4) for score in values["ndcg10"]), strict=True)),
        questions_hash=golden.fingerprint,
        search=_way_of_searching(feedback, fusion, chunks),
    )


def _way_of_searching(feedback: bool, fusion: Fusion, chunks: int) -> str:
    """Tell figures that must not be compared apart; those of the default search go by the version alone."""
    ways = {"no feedback": not feedback, fusion: fusion != "rrf", f"{chunks} chunks": chunks != _CHUNKS}
    return ", ".join([SEARCH_VERSION, *(way for way, is_other in ways.items() if is_other)])


def _reranked(reranker: Reranker, texts: Sequence[str], found: Sequence[Sequence[Hit]]) -> list[Sequence[Hit]]:
    """Rerank a batch of searches.

    Raises:
        ModelError: the reranker failed; figures of other hits than its own would say nothing about it.
    """
    reranked = reranker.rerank(list(zip(texts, found, strict=True)))
    if any(one.status != RerankStatus.DONE for one in reranked):
        raise ModelError("the reranker failed, as the log says; unset FOREBAY_SERVING_RERANKER to measure without it.")
    return [one.hits for one in reranked]


def rank_documents(hits: Iterable[Hit]) -> list[str]:
    """Rank documents by their best passage."""
    return list(dict.fromkeys(hit.doc_id for hit in hits))


def _scored(query_id: str, documents: Sequence[str]) -> list[ir_measures.ScoredDoc]:
    # ir-measures sorts by score, so the rank stands in for it.
    return [ir_measures.ScoredDoc(query_id, doc_id, float(-rank)) for rank, doc_id in enumerate(documents[:_DOCUMENTS])]
