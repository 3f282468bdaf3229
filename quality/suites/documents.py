"""What must be true of the documents that a run wrote."""

from dataclasses import replace
from pathlib import Path

from forebay.tables import Table
from quality.suites.sampling import sample_of_run
from quality.validate import CheckOutcome, Suite, validate

__all__ = ["DOCUMENT_CHECKS", "check_documents"]

DOCUMENT_CHECKS = (
    "document_ids_are_unique",
    "source_has_documents",
    "rejected_share_is_small",
    "documents_match_the_schema",
    "documents_have_text",
)
"""Names of the checks that `check_documents` gives."""

_MAX_ID_CHARS = 512
_ADVICE = {
    "source_has_documents": "a source gave no document at all; bring it back (is its folder mounted?) or leave it out",
    "rejected_share_is_small": "the quarantine says why; mend the files, or raise FOREBAY_CORPUS_MAX_REJECTED_SHARE",
}


def check_documents(
    documents: Table,
    *,
    accepted: int,
    rejected: int,
    empty_sources: int,
    duplicate_ids: int,
    run_id: str,
    max_rejected_share: float,
    docs: Path,
) -> list[CheckOutcome]:
    """Check the documents of a run.

    Args:
        documents: The table with the run's rows, not yet published.
        accepted: Documents of the run's sources.
        rejected: Rejects of the run's sources.
        empty_sources: Sources that have no document at all.
        duplicate_ids: Ids that stand in the table more than once.
        run_id: The run.
        max_rejected_share: Largest share of rejects that passes.
        docs: Folder of the reports.
    """
    import great_expectations.expectations as gxe
    import pandas as pd

    metrics = pd.DataFrame(
        [
            {
                "duplicate_ids": duplicate_ids,
                "empty_sources": empty_sources,
                "rejected_share": rejected / max(accepted + rejected, 1),
            }
        ]
    )
    unique, present, share, schema, text = ({"check": name} for name in DOCUMENT_CHECKS)
    outcomes = validate(
        [
            Suite(
                "documents_metrics",
                metrics,
                [
                    gxe.ExpectColumnValuesToBeBetween(column="duplicate_ids", max_value=0, meta=unique),
                    gxe.ExpectColumnValuesToBeBetween(column="empty_sources", max_value=0, meta=present),
                    gxe.ExpectColumnValuesToBeBetween(
                        column="rejected_share", max_value=max_rejected_share, meta=share
                    ),
                ],
            ),
            Suite(
                "documents_sample",
                sample_of_run(documents, run_id),
                [
                    gxe.ExpectTableColumnsToMatchOrderedList(column_list=list(documents.schema.names), meta=schema),
                    gxe.ExpectColumnValuesToNotBeNull(column="doc_id", meta=schema),
                    gxe.ExpectColumnValueLengthsToBeBetween(
                        column="doc_id", min_value=1, max_value=_MAX_ID_CHARS, meta=schema
                    ),
                    gxe.ExpectColumnValuesToMatchRegex(column="content_hash", regex="^[0-9a-f]{32}$", meta=schema),
                    gxe.ExpectColumnValuesToNotBeNull(column="text", meta=text),
                    gxe.ExpectColumnValuesToMatchRegex(column="text", regex=r"\S", meta=text),
                ],
            ),
        ],
        docs / "documents",
    )
    return [_advised(outcome) for outcome in outcomes]


def _advised(outcome: CheckOutcome) -> CheckOutcome:
    if outcome.passed or outcome.name not in _ADVICE:
        return outcome
    return replace(outcome, metadata={**outcome.metadata, "what_to_do": _ADVICE[outcome.name]})
