"""Dagster's home in the data folder: storage, run history and instance settings."""

import hashlib
import re
from pathlib import Path

from forebay.settings import PathSettings

__all__ = ["prepare_dagster_home"]

_INSTANCE = """\
# Nothing is sent anywhere, and the page opens on the graph instead of a newsletter form.
telemetry:
  enabled: false
nux:
  enabled: false

# Runs wait in a queue, by priority (tag dagster/priority: 10 by hand, 0 on schedule, -10 backfill).
run_coordinator:
  module: dagster.core.run_coordinator
  class: QueuedRunCoordinator

concurrency:
  pools:
    # Pool `spark`: one JVM at a time. On a larger machine: `dagster instance concurrency set spark 2`.
    default_limit: 1
    # A run holds its place to its end, so two runs never take turns on the same tables; nothing is left
    # behind by a run that is killed.
    granularity: run
  runs:
    max_concurrent_runs: 4
    tag_concurrency_limits:
      # One run of each kind of work (ingest, backfill) at a time: backfills never take every place.
      - key: forebay/work
        value:
          applyLimitPerUniqueValue: true
        limit: 1
      # Backfills that were started in the page.
      - key: dagster/backfill
        limit: 1

run_monitoring:
  enabled: true
  free_slots_after_run_end_seconds: 300

# Only runs whose process died; a step that failed says by itself whether to try again.
run_retries:
  enabled: true
  max_retries: 2
  retry_on_asset_or_op_failure: false
"""

_MARK = re.compile(r"# forebay ([0-9a-f]{16}): .*\n")
# Written before the files had a mark.
_UNMARKED = frozenset({"42e7e35879e0c363", "f8805dc9e6f614c7"})


def prepare_dagster_home(paths: PathSettings) -> Path:
    """Make DAGSTER_HOME with its instance settings; a `dagster.yaml` that somebody has changed is kept."""
    paths.dagster.mkdir(parents=True, exist_ok=True)
    configuration = paths.dagster / "dagster.yaml"
    found = configuration.read_text("utf-8") if configuration.exists() else None
    wanted = f"# forebay {_digest(_INSTANCE)}: a newer version replaces this file, unless you change it.\n{_INSTANCE}"
    if found is None or (found != wanted and _is_ours(found)):
        configuration.write_text(wanted, "utf-8")
    return paths.dagster


def _is_ours(text: str) -> bool:
    mark = _MARK.match(text)
    return _digest(text) in _UNMARKED if mark is None else _digest(text[mark.end() :]) == mark[1]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
