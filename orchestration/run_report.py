"""The report of one run: what its assets said, as a short page with plots."""

import base64
import html
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg

from forebay.settings import PathSettings
from forebay.tables import duplicate_table, quarantine_table, sql_text
from orchestration.run_failures import FailedCheck, RunFailures, failures_of_run

__all__ = ["RunFigures", "figures_of_run", "report_failed_run", "report_markdown", "write_report"]

STAGES = ("documents", "chunks", "embeddings", "index_shards", "evaluation", "release")
"""Assets of a run, in their order."""

_COUNTS = ("new", "changed", "unchanged", "deleted", "rejected")
_EXAMPLES = 5


@dataclass(frozen=True)
class RunFigures:
    """What the assets of a run reported, and a look at what was left out."""

    run_id: str
    stages: Mapping[str, Mapping[str, Any]]
    """Metadata by asset."""
    reasons: Mapping[str, int]
    """Documents in quarantine, by reason."""
    merged: Sequence[Mapping[str, Any]]
    """Some of the duplicates: `doc_id`, `canonical_id`, `kind`, `similarity`."""
    failures: RunFailures = field(default_factory=RunFailures)
    """What went wrong."""
    rejects: Sequence[Mapping[str, Any]] = ()
    """Some of the run's own rejects, where it failed: `source`, `uri`, `reason`, `detail`."""


def figures_of_run(instance: dg.DagsterInstance, run_id: str, paths: PathSettings) -> RunFigures:
    """Collect what a run reported so far."""
    stages: dict[str, dict[str, Any]] = {}
    records = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION).records
    for record in records:
        made = record.event_log_entry.asset_materialization
        if made is not None:
            name = made.asset_key.to_user_string()
            stages.setdefault(name, {}).update({key: value.value for key, value in made.metadata.items()})
    quarantine = quarantine_table(paths.tables).published()
    reasons = [] if quarantine is None else quarantine.to_table(columns=["reason"])["reason"].to_pylist()
    duplicates = duplicate_table(paths.tables).published()
    merged = [] if duplicates is None else duplicates.scanner(limit=_EXAMPLES).to_table().to_pylist()
    failures = failures_of_run(instance, run_id)
    rejects: list[dict[str, Any]] = []
    if failures and quarantine is not None:
        mine = quarantine.scanner(filter=f"run_id = {sql_text(run_id)}", limit=_EXAMPLES)
        rejects = mine.to_table().to_pylist()
    return RunFigures(run_id, stages, Counter(reasons), merged, failures, rejects)


def report_markdown(figures: RunFigures) -> str:
    """Write the report; plots are inline pictures."""
    parts = [_failures(figures), _sources(figures), _stages(figures), _canary(figures)]
    parts += [_left_out(figures), _plots(figures)]
    return "\n\n".join(part for part in parts if part)


def write_report(instance: dg.DagsterInstance, run_id: str, paths: PathSettings) -> tuple[str, Path]:
    """Write the report of a run as a page below the data folder; gives the Markdown and the page."""
    markdown = report_markdown(figures_of_run(instance, run_id, paths))
    page = paths.data.absolute() / "reports" / f"{run_id}.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(_page(run_id, markdown), "utf-8")
    return markdown, page


def report_failed_run(instance: dg.DagsterInstance, run_id: str, paths: PathSettings) -> tuple[RunFailures, Path]:
    """Write the report of a run that failed, which its own last asset could not; gives what failed, and the page.

    It stands among the events of the asset `run_report`, too, as an observation: nothing was made.
    """
    markdown, page = write_report(instance, run_id, paths)
    failures = failures_of_run(instance, run_id)
    metadata = {
        "run": run_id,
        "failed": ", ".join(stage.name for stage in failures.stages),
        "report": dg.MetadataValue.md(markdown),
        "page": dg.MetadataValue.path(str(page)),
    }
    instance.report_runless_asset_event(dg.AssetObservation("run_report", metadata=metadata))
    return failures, page


def _failures(figures: RunFigures) -> str:
    failures = figures.failures
    lines = [f"- stage **{stage.name}**: {_code(stage.sentence)}" for stage in failures.stages]
    for check in failures.checks:
        lines += [f"- check **{check.name}** of {check.stage} is not met", *_found(check)]
    lines += [
        f"- {_code(row['uri'])} of {_code(row['source'])}: {row['reason']} ({_code(row['detail'])})"
        for row in figures.rejects
    ]
    return "### What failed\n\n" + "\n".join(lines) if lines else ""


def _found(check: FailedCheck) -> list[str]:
    # What a passed expectation of the same check says would only be in the way.
    kept = {name: text for name, text in check.found.items() if name not in ("expectations", "report")}
    return [f"  - {name}: {_code(text)}" for name, text in kept.items()]


def _sources(figures: RunFigures) -> str:
    by_source: Mapping[str, Mapping[str, int]] = figures.stages.get("documents", {}).get("by_source", {})
    rows = [[_cell(name), *(f"{counts.get(count, 0):,}" for count in _COUNTS)] for name, counts in by_source.items()]
    return "### Documents by source\n\n" + _table(["source", *_COUNTS], rows) if rows else ""


def _stages(figures: RunFigures) -> str:
    rows: list[list[str]] = []
    for name in STAGES:
        metadata = figures.stages.get(name)
        if metadata is not None:
            changed = {key.removeprefix("rows_"): count for key, count in metadata.items() if key.startswith("rows_")}
            told = ", ".join(f"{count:,} {key}" for key, count in changed.items() if isinstance(count, int))
            rows.append([name, _number(metadata, "dagster/row_count"), _seconds(metadata), told or "nothing changed"])
    return "### Stages\n\n" + _table(["stage", "rows", "seconds", "what changed"], rows) if rows else ""


def _canary(figures: RunFigures) -> str:
    metadata = figures.stages.get("release", {})
    told = {
        "canary": "is the canary: a share of the searches goes to it before it is promoted or rolled back",
        "waiting": "waits until the canary is decided about",
    }.get(metadata.get("place", ""))
    return f"### Canary\n\nRelease {_code(str(metadata['release_id']))} {told}." if told else ""


def _left_out(figures: RunFigures) -> str:
    duplicates: Mapping[str, int] = figures.stages.get("documents", {}).get("duplicates", {})
    lines = [f"- {count:,} documents are {kind} duplicates of others" for kind, count in duplicates.items() if count]
    lines += [
        f"  - {_code(row['doc_id'])} is searched as {_code(row['canonical_id'])} "
        f"({row['kind']}, similarity {row['similarity']:.2f})"
        for row in figures.merged
    ]
    lines += [f"- {count:,} documents in quarantine: {reason}" for reason, count in figures.reasons.items()]
    return "### Left out\n\n" + "\n".join(lines) if lines else ""


def _plots(figures: RunFigures) -> str:
    from matplotlib.figure import Figure

    seconds = {
        name: float(metadata["seconds"]) for name in STAGES if "seconds" in (metadata := figures.stages.get(name, {}))
    }
    lengths: Mapping[str, int] = figures.stages.get("chunks", {}).get("tokens_per_chunk", {})
    if not seconds and not lengths:
        return ""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    time_axes, length_axes = figure.subplots(1, 2)
    time_axes.barh(list(seconds), list(seconds.values()))
    time_axes.invert_yaxis()
    time_axes.set_xlabel("seconds")
    length_axes.bar(list(lengths), list(lengths.values()))
    length_axes.tick_params(axis="x", rotation=60)
    length_axes.set_xlabel("tokens of a chunk")
    length_axes.set_ylabel("chunks")
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return f"![time by stage, chunks by length](data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()})"


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _cell(text: str) -> str:
    """Make a name from outside harmless in a table."""
    return _code(text).replace("|", "\\|")


def _code(text: str) -> str:
    """Make a name from outside harmless in Markdown and HTML."""
    return "`" + html.escape(text, quote=False).replace("`", "'").replace("\n", " ") + "`"


def _number(metadata: Mapping[str, Any], name: str) -> str:
    return f"{metadata[name]:,}" if name in metadata else ""


def _seconds(metadata: Mapping[str, Any]) -> str:
    return f"{metadata['seconds']:.1f}" if "seconds" in metadata else ""


def _page(run_id: str, markdown: str) -> str:
    from markdown_it import MarkdownIt

    # Inline pictures are the only addresses in the text.
    renderer = MarkdownIt("commonmark", {"html": False}).enable("table")
    renderer.validateLink = lambda url: url.startswith("data:image/png;base64,")
    style = "body{font:15px sans-serif;max-width:60em;margin:2em auto}td,th{padding:.2em .8em;text-align:left}"
    body = renderer.render(markdown)
    head = f"<!doctype html><meta charset=utf-8><title>Run {run_id}</title><style>{style}</style>"
    return f"{head}<h2>Run {run_id}</h2>{body}"
