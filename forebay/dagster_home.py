"""Dagster's home in the data folder: storage, run history and instance settings."""

from pathlib import Path

from forebay.settings import PathSettings

__all__ = ["prepare_dagster_home"]

# Nothing is sent anywhere, and the page opens on the graph instead of a newsletter form.
_INSTANCE = """telemetry:
  enabled: false
nux:
  enabled: false
run_monitoring:
  enabled: true
"""


def prepare_dagster_home(paths: PathSettings) -> Path:
    """Make DAGSTER_HOME with its instance settings; an existing `dagster.yaml` is kept."""
    paths.dagster.mkdir(parents=True, exist_ok=True)
    configuration = paths.dagster / "dagster.yaml"
    if not configuration.exists():
        configuration.write_text(_INSTANCE, "utf-8")
    return paths.dagster
