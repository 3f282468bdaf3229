"""What must be true of the chunks that a run wrote."""

from collections.abc import Mapping
from pathlib import Path

from forebay.tables import Table
from quality.suites.sampling import sample_of_run
from quality.validate import CheckOutcome, Suite, validate

__all__ = ["CHUNK_CHECKS", "CHUNK_METRICS", "check_chunks"]

CHUNK_CHECKS = (
    "chunk_ids_are_unique",
    "every_document_has_chunks",
    "chunks_fit_the_model",
    "chunks_have_text",
)
"""Names of the checks that `check_chunks` gives."""

CHUNK_METRICS = ("blank_chunks", "chunks_over_budget", "chunks_without_place")
"""Counts over every row of a run, made by Spark while it writes."""


def check_chunks(
    chunks: Table,
    metrics: Mapping[str, int],
    *,
    duplicate_ids: int,
    documents_without_chunks: int,
    run_id: str,
    max_tokens: int,
    docs: Path,
) -> list[CheckOutcome]:
    """Check the chunks of a run.

    Args:
        chunks: The table with the run's rows, not yet published.
        metrics: One count per name of `CHUNK_METRICS`.
        duplicate_ids: Ids that stand in the table more than once.
        documents_without_chunks: Documents that no chunk was cut from.
        run_id: The run.
        max_tokens: Longest input of the embedding model.
        docs: Folder of the reports.
    """
    import great_expectations.expectations as gxe
    import pandas as pd

    unique, complete, fits, text = ({"check": name} for name in CHUNK_CHECKS)
    row = {**metrics, "duplicate_ids": duplicate_ids, "documents_without_chunks": documents_without_chunks}
    zero = [
        ("duplicate_ids", unique),
        ("documents_without_chunks", complete),
        ("chunks_over_budget", fits),
        ("chunks_without_place", complete),
        ("blank_chunks", text),
    ]
    return validate(
        [
            Suite(
                "chunks_metrics",
                pd.DataFrame([row]),
                [gxe.ExpectColumnValuesToBeBetween(column=name, max_value=0, meta=meta) for name, meta in zero],
            ),
            Suite(
                "chunks_sample",
                sample_of_run(chunks, run_id),
                [
                    gxe.ExpectTableColumnsToMatchOrderedList(column_list=list(chunks.schema.names), meta=complete),
                    gxe.ExpectColumnValuesToBeUnique(column="chunk_id", meta=unique),
                    gxe.ExpectColumnValuesToBeBetween(column="n_tokens", min_value=0, max_value=max_tokens, meta=fits),
                    gxe.ExpectColumnValuesToMatchRegex(column="text", regex=r"\S", meta=text),
                ],
            ),
        ],
        docs / "chunks",
    )
