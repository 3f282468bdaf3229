"""Run Great Expectations suites over small frames and write Data Docs.

Every row of a delta is measured by Spark in a few aggregates; the resulting one-row frame of metrics and a sample of
rows are what the suites look at, so a check costs the same for a thousand rows as for a billion.
"""

import json
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from great_expectations.expectations import Expectation

__all__ = ["SAMPLE_ROWS", "CheckOutcome", "Suite", "validate"]

_SHOWN = ("observed_value", "unexpected_count", "partial_unexpected_list")

SAMPLE_ROWS = 5000
"""Rows of a delta that suites look at one by one."""


@dataclass(frozen=True)
class Suite:
    """Expectations over one frame; each names its check in `meta["check"]`."""

    name: str
    """Name in the Data Docs, such as `documents_metrics`."""
    frame: "pd.DataFrame"
    """What is looked at."""
    expectations: Sequence["Expectation"]
    """What must be true of it."""


@dataclass(frozen=True)
class CheckOutcome:
    """The verdict of one check over all of its expectations."""

    name: str
    """Name of the Dagster asset check."""
    passed: bool
    """Whether every expectation of the check holds."""
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What was expected and found, and where the report lies."""


def validate(suites: Sequence[Suite], docs: Path) -> list[CheckOutcome]:
    """Run suites and begin to write their Data Docs, which are there when the process ends.

    Args:
        suites: What to run.
        docs: Folder of the HTML report; `index.html` is its first page.

    Returns:
        One outcome per check, in the order of first appearance.
    """
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}  # pyright: ignore[reportAttributeAccessIssue]
    context.delete_data_docs_site("local_site")
    context.add_data_docs_site(site_name="forebay", site_config=_site(docs))
    source = context.data_sources.add_pandas("tables")
    found: dict[str, list[tuple[bool, str]]] = {}
    for suite in suites:
        batch = source.add_dataframe_asset(suite.name).add_batch_definition_whole_dataframe(suite.name)
        expectations = context.suites.add(gx.ExpectationSuite(name=suite.name, expectations=list(suite.expectations)))
        definition = context.validation_definitions.add(
            gx.ValidationDefinition(name=suite.name, data=batch, suite=expectations)
        )
        result = definition.run(batch_parameters={"dataframe": suite.frame}, result_format="SUMMARY")
        for item in result.results:
            config: Any = item.expectation_config
            verdict = bool(item.success), _sentence(config, item)
            found.setdefault(config.meta["check"], []).append(verdict)
    # Most of it is compiling templates; whoever called goes on meanwhile, and the process ends after it.
    threading.Thread(target=context.build_data_docs, name="data docs").start()
    return [_outcome(name, verdicts, docs) for name, verdicts in found.items()]


def _site(docs: Path) -> Any:
    return {
        "class_name": "SiteBuilder",
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs)},
    }


def _sentence(config: Any, item: Any) -> str:
    limits = {key: value for key, value in config.kwargs.items() if key != "batch_id"}
    expected = f"{config.type} {json.dumps(limits, default=str)}"
    if item.success:
        return expected
    raised = (item.exception_info or {}).get("exception_message")
    seen = raised or {key: item.result.get(key) for key in _SHOWN if item.result.get(key) is not None}
    return f"{expected}: found {seen}"


def _outcome(name: str, verdicts: Sequence[tuple[bool, str]], docs: Path) -> CheckOutcome:
    failed = [sentence for passed, sentence in verdicts if not passed]
    metadata = {
        "expectations": "\n".join(sentence for _, sentence in verdicts),
        "report": str(docs / "index.html"),
    }
    if failed:
        metadata["failed"] = "\n".join(failed)
    return CheckOutcome(name, not failed, metadata)
