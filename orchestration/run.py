"""`forebay ingest` and `forebay reembed`: run a job in this process and show its progress."""

import argparse
import logging
import os
import sys
import threading
import time
import uuid
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table

from forebay.canary.description import describe_canary
from forebay.dagster_home import prepare_dagster_home
from forebay.releases import ReleaseRegistry
from forebay.settings import PathSettings
from orchestration.abandoned_runs import WORKER_TAG, end_abandoned_runs, this_worker
from orchestration.defs.automation import ALL_SHARDS, INGEST_JOB, REEMBED_JOB
from orchestration.resources import INTERACTIVE_TAG
from orchestration.run_failures import RunFailures
from orchestration.run_report import report_failed_run
from orchestration.sources import absolute_sources

__all__ = ["main", "run_ingest", "run_reembed"]

_POLL_S = 0.5


def main(arguments: list[str] | None = None) -> int:
    """Run the command; gives its exit status."""
    parser = argparse.ArgumentParser(prog="forebay ingest", description=__doc__)
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--reembed", action="store_true", help="embed the documents that are there with another model")
    kind.add_argument(
        "--source",
        action="append",
        dest="sources",
        metavar="SOURCE",
        help="folder, file or address of documents; may be given several times",
    )
    options = parser.parse_args(arguments)
    paths = PathSettings()
    work = "reembed" if options.reembed else "ingest"
    log = paths.data.absolute() / "logs" / f"{work}-{time.strftime('%Y%m%d-%H%M%S')}.log"
    with _quiet(log) as console:
        succeeded = run_reembed(paths, console) if options.reembed else run_ingest(options.sources, paths, console)
        if not succeeded:
            console.print(f"[red]the run failed; the current release stays as it was.[/red] Log: {log}", soft_wrap=True)
            return 1
        manifest = ReleaseRegistry(paths.releases).current()
        if manifest is not None:
            console.print(
                f"release [bold]{manifest.release_id}[/bold]: {manifest.documents} documents, {manifest.chunks} chunks"
            )
        for line in describe_canary(paths):
            console.print(line, markup=False, soft_wrap=True)
    return 0


@contextmanager
def _quiet(log: Path) -> Generator[Console]:
    """Send what libraries and child processes print to a log file; give a console on the real output."""
    log.parent.mkdir(parents=True, exist_ok=True)
    screen = os.fdopen(os.dup(1), "w", encoding="utf-8")
    with log.open("ab") as target:
        os.dup2(target.fileno(), 1)
        os.dup2(target.fileno(), 2)
    try:
        yield Console(file=screen)
    finally:
        os.dup2(screen.fileno(), 1)
        os.dup2(screen.fileno(), 2)


def run_ingest(sources: Sequence[str], paths: PathSettings, console: Console) -> bool:
    """Run the ingest job over all shards and report whether it succeeded."""
    source_config = {"config": {"sources": absolute_sources(sources)}}
    return _run(INGEST_JOB, {"documents": source_config, "golden_questions": source_config}, paths, console)


def run_reembed(paths: PathSettings, console: Console) -> bool:
    """Run the job that embeds a corpus with the configured model, and report whether it succeeded."""
    return _run(REEMBED_JOB, {}, paths, console)


def _run(job_name: str, ops: dict[str, Any], paths: PathSettings, console: Console) -> bool:
    # Imported here: Dagster's definitions read the settings at import.
    from orchestration.definitions import defs

    warnings.simplefilter("ignore")
    os.environ["DAGSTER_HOME"] = str(prepare_dagster_home(paths))
    job = defs.resolve_job_def(job_name)
    run_id = str(uuid.uuid4())
    with dg.DagsterInstance.get() as instance:
        for abandoned in end_abandoned_runs(instance):
            report_failed_run(instance, abandoned, paths)
        watcher = _Watcher(instance, run_id, console)
        with watcher:
            result = job.execute_in_process(
                instance=instance,
                run_id=run_id,
                raise_on_error=False,
                tags={**ALL_SHARDS, INTERACTIVE_TAG: "true", WORKER_TAG: this_worker(run_id)},
                run_config={
                    "ops": ops,
                    "loggers": {"console": {"config": {"log_level": "INFO"}}},
                },
            )
        if not result.success:
            _tell_failure(*report_failed_run(instance, run_id, paths), console)
    return result.success


def _tell_failure(failures: RunFailures, page: Path, console: Console) -> None:
    for check in failures.checks:
        advice = check.found.get("what_to_do", "the report says what was found")
        console.print(f"  check {check.name}: {advice}", style="red", markup=False, soft_wrap=True)
    console.print(f"  report: {page}", markup=False, soft_wrap=True)


class _Watcher:
    """Shows a run's events on a console while the run goes on in another thread."""

    def __init__(self, instance: dg.DagsterInstance, run_id: str, console: Console) -> None:
        self._instance = instance
        self._run_id = run_id
        self._console = console
        self._seen = 0
        self._step = "starting"
        self._said = ""
        self._since = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        with Live(self._status(), console=self._console, refresh_per_second=4, transient=True) as live:
            while not self._stop.wait(_POLL_S):
                self._show_new()
                live.update(self._status())
            self._show_new()

    def _status(self) -> Table:
        row = Table.grid(padding=(0, 1))
        row.add_row(Spinner("dots"), f"{self._step}", f"[dim]{time.monotonic() - self._since:.0f} s[/dim]")
        return row

    def _show_new(self) -> None:
        entries = self._instance.all_logs(self._run_id)
        for entry in entries[self._seen :]:
            self._show(entry)
        self._seen = len(entries)

    def _show(self, entry: dg.EventLogEntry) -> None:
        event = entry.dagster_event
        if event is None:
            if int(entry.level) >= logging.ERROR:
                self._console.print(f"  {entry.user_message}", style="red", markup=False, soft_wrap=True)
            elif entry.step_key and not entry.user_message.startswith("[pipes]"):
                self._step = f"{entry.step_key}: {entry.user_message}"
                self._said = entry.user_message
        elif event.is_step_start:
            self._step, self._since, self._said = str(event.step_key), time.monotonic(), ""
        elif event.is_step_success:
            seconds = time.monotonic() - self._since
            self._console.print(f"  [green]✓[/green] {event.step_key} [dim]{seconds:.1f} s  {self._said}[/dim]")
        elif event.is_step_failure:
            self._console.print(f"  [red]✗ {event.step_key}[/red]")


if __name__ == "__main__":
    sys.exit(main())
