import dagster as dg
import pyarrow as pa
import pytest
from dagster._core.execution.plan.objects import StepSuccessData

from forebay.documents import RejectionReason
from forebay.errors import ConfigurationError
from forebay.settings import PathSettings
from forebay.tables import quarantine_table
from orchestration.defs.automation import INGEST_JOB
from orchestration.defs.sensors import failed_runs_sensor
from orchestration.run_failures import FailedStage, RunFailures, failures_of_run
from orchestration.run_report import report_failed_run


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@dg.asset
def documents():
    by_source = {"/docs": {"new": 7}}
    return dg.MaterializeResult(metadata={"by_source": by_source, "seconds": 2.5, "dagster/row_count": 7})


@dg.asset(
    deps=[documents], check_specs=[dg.AssetCheckSpec(name, asset="chunks") for name in ("are_good", "are_unique")]
)
def chunks():
    yield dg.AssetCheckResult(check_name="are_unique", passed=True)
    found = {"failed": "found | 3 *bad* ones", "expectations": "much that is of no use", "what_to_do": "mend them"}
    yield dg.AssetCheckResult(check_name="are_good", passed=False, metadata=found)
    raise dg.Failure("the chunks failed.\nmore", allow_retries=False)


@dg.asset(deps=[chunks])
def embeddings():
    pass


def run(instance, *assets):
    return dg.materialize(list(assets), instance=instance, raise_on_error=False).run_id


def test_a_failed_stage_and_its_checks_are_told(instance):
    failures = failures_of_run(instance, run(instance, documents, chunks, embeddings))
    assert failures.stages == [FailedStage("chunks", "the chunks failed.")]
    (check,) = failures.checks
    assert (check.name, check.stage, check.found["what_to_do"]) == ("are_good", "chunks", "mend them")


def test_an_error_is_told_by_its_own_sentence(instance):
    @dg.asset
    def release():
        raise ConfigurationError("no source is given; set one.")

    (stage,) = failures_of_run(instance, run(instance, release)).stages
    assert stage.name == "release"
    assert stage.sentence.endswith("no source is given; set one.")


def test_a_run_that_went_well_has_no_failures(instance):
    assert failures_of_run(instance, run(instance, documents)) == RunFailures([], [])
    assert not failures_of_run(instance, run(instance, documents))


def killed(instance, *steps):
    """A run whose process is gone after it started these steps, of which it ended all but the last."""
    run = instance.create_run_for_job(dg.job(name=INGEST_JOB)(lambda: None), status=dg.DagsterRunStatus.STARTED)
    for step in steps:
        instance.report_dagster_event(dg.DagsterEvent("STEP_START", INGEST_JOB, step_key=step), run.run_id)
    for step in steps[:-1]:
        data = StepSuccessData(duration_ms=1.0)
        event = dg.DagsterEvent("STEP_SUCCESS", INGEST_JOB, step_key=step, event_specific_data=data)
        instance.report_dagster_event(event, run.run_id)
    instance.report_run_failed(run, "the process that worked on this run is gone.")
    return run.run_id


@pytest.mark.parametrize(("steps", "stage"), [(["documents", "chunks"], "chunks"), ([], "run")])
def test_a_killed_run_names_the_stage_that_was_under_way(instance, steps, stage):
    (failed,) = failures_of_run(instance, killed(instance, *steps)).stages
    assert failed == FailedStage(stage, "the process that worked on this run is gone.")


def test_the_report_of_a_failed_run_says_what_failed_and_what_went_before(instance, tmp_path):
    paths = PathSettings(data=tmp_path)
    run_id = run(instance, documents, chunks)
    rejects = quarantine_table(paths.tables)
    rejects.prepare(run_id)
    reject = {name: "" for name in rejects.schema.names} | {
        "source": "/docs",
        "uri": "a|b.pdf",
        "unit": "a|b.pdf",
        "line": 0,
        "detail": "it is gone",
        "reason": RejectionReason.UNREADABLE.value,
        "run_id": run_id,
    }
    rows = [reject, {**reject, "run_id": "other", "uri": "old"}]
    rejects.append(pa.Table.from_pylist(rows, rejects.schema))
    rejects.publish()
    failures, page = report_failed_run(instance, run_id, paths)
    assert [stage.name for stage in failures.stages] == ["chunks"]
    assert page == tmp_path / "reports" / f"{run_id}.html"
    text = page.read_text()
    for part in ("the chunks failed.", "are_good", "found | 3 *bad* ones", "mend them", "it is gone", "/docs", "2.5"):
        assert part in text
    for part in ("are_unique", "of no use", "<code>old</code>", "embeddings"):
        assert part not in text
    (event,) = instance.fetch_observations(dg.AssetKey("run_report"), limit=5).records
    metadata = event.asset_observation.metadata
    assert (metadata["run"].value, metadata["failed"].value) == (run_id, "chunks")
    assert metadata["page"].value == str(page)
    assert "the chunks failed." in metadata["report"].value


def test_the_sensor_reports_runs_of_the_daemon(instance, tmp_path, monkeypatch):
    monkeypatch.setenv("FOREBAY_DATA", str(tmp_path))
    run_id = killed(instance, "documents")
    (failure,) = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.RUN_FAILURE).records
    context = dg.build_run_status_sensor_context(
        "failed_runs_sensor", failure.event_log_entry.dagster_event, instance, instance.get_run_by_id(run_id)
    )
    failed_runs_sensor(context.for_run_failure())
    assert "is gone" in (tmp_path / "reports" / f"{run_id}.html").read_text()
