"""Why a run failed: which stage, with which sentence, and which checks, as its events tell."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

__all__ = ["FailedCheck", "FailedStage", "RunFailures", "failures_of_run"]

_EVENTS = {
    dg.DagsterEventType.STEP_START,
    dg.DagsterEventType.STEP_SUCCESS,
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
    dg.DagsterEventType.RUN_FAILURE,
}


@dataclass(frozen=True)
class FailedStage:
    """An asset that ended badly, or was under way when the run died."""

    name: str
    sentence: str
    """What it said, in one line."""


@dataclass(frozen=True)
class FailedCheck:
    """A check that was not met."""

    name: str
    stage: str
    """Asset that it belongs to."""
    found: Mapping[str, str]
    """What the check said: what was expected and found, and what to do about it."""


@dataclass(frozen=True)
class RunFailures:
    """All that went wrong; empty for a run that went well so far."""

    stages: Sequence[FailedStage] = ()
    checks: Sequence[FailedCheck] = ()

    def __bool__(self) -> bool:
        return bool(self.stages or self.checks)


def failures_of_run(instance: dg.DagsterInstance, run_id: str) -> RunFailures:
    """Collect what went wrong in a run so far; of a check, or a stage, that ran twice the last word counts."""
    failed: dict[str, FailedStage] = {}
    checks: dict[tuple[str, str], FailedCheck] = {}
    under_way: list[str] = []
    for event in _events(instance, run_id):
        step = event.step_key or ""
        if event.is_step_start:
            under_way.append(step)
        elif event.is_step_success or event.is_step_failure:
            under_way = [other for other in under_way if other != step]
        if event.is_step_failure:
            failed[step] = FailedStage(step, _sentence(event.step_failure_data))
        elif event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            verdict = event.asset_check_evaluation_data
            stage = verdict.asset_key.to_user_string()
            checks.pop((stage, verdict.check_name), None)
            if not verdict.passed:
                checks[stage, verdict.check_name] = FailedCheck(verdict.check_name, stage, _texts(verdict.metadata))
        elif event.event_type == dg.DagsterEventType.RUN_FAILURE and not failed:
            # The process died, so no stage could say anything.
            for name in dict.fromkeys(under_way or ["run"]):
                failed[name] = FailedStage(name, _one_line(event.message or "it ended without a word"))
    return RunFailures(list(failed.values()), list(checks.values()))


def _events(instance: dg.DagsterInstance, run_id: str) -> Iterator[dg.DagsterEvent]:
    for entry in instance.all_logs(run_id, of_type=_EVENTS):
        if entry.dagster_event is not None:
            yield entry.dagster_event


def _sentence(data: Any) -> str:
    said = data.user_failure_data
    if said is not None and said.description:
        return _one_line(said.description)
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return "it ended without a word" if error is None else _one_line(error.message)


def _texts(metadata: Mapping[str, dg.MetadataValue]) -> dict[str, str]:
    return {name: str(value.value) for name, value in metadata.items()}


def _one_line(text: str) -> str:
    return text.strip().partition("\n")[0]
