import dagster as dg
import pytest

from forebay.canary.observations import Observation
from forebay.canary.settling import introduce
from forebay.canary.trials import CanaryRegistry
from forebay.releases import ReleaseRegistry
from forebay.settings import PathSettings, ReleaseSettings
from orchestration.defs.canary import canary_job, canary_sensor, canary_verdict
from tests.releases import sealed_release


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def paths(tmp_path, monkeypatch):
    monkeypatch.setenv("FOREBAY_DATA", str(tmp_path))
    monkeypatch.setenv("FOREBAY_RELEASE_CANARY_SHARE", "0.2")
    monkeypatch.setenv("FOREBAY_RELEASE_CANARY_MIN_SEARCHES", "100")
    return PathSettings()


@pytest.fixture
def releases(paths):
    """Two releases, of which the second is the canary beside the first."""
    registry = ReleaseRegistry(paths.releases)
    made = [registry.save(sealed_release(paths.shards, content)).release_id for content in ("c1", "c2")]
    for release_id in made:
        introduce(release_id, paths, ReleaseSettings())
    return made


def _note(paths, searches, **fields):
    canaries = CanaryRegistry(paths.releases)
    for number in range(searches):
        canaries.note(canaries.current(), Observation(question=str(number), ms=(2.0, 2.1), **fields))


def _tick(instance):
    return canary_sensor(dg.build_sensor_context(instance=instance))


def _materialize(instance):
    result = dg.materialize([canary_verdict], selection=[canary_verdict], instance=instance)
    (made,) = result.asset_materializations_for_node("canary_verdict")
    (check,) = result.get_asset_check_evaluations()
    return {name: value.value for name, value in made.metadata.items()}, check


def test_the_sensor_waits_until_the_searches_decide(instance, paths, releases):
    assert canary_sensor.default_status == dg.DefaultSensorStatus.RUNNING
    _note(paths, 99)
    assert (
        _tick(instance).skip_message == f"canary {releases[1]}: 99 of 100 searches compared, and none of them decides"
    )
    _note(paths, 100)
    request = _tick(instance)
    assert request.run_key.startswith(CanaryRegistry(paths.releases).current().trial_id)
    run = instance.create_run_for_job(
        dg.Definitions(assets=[canary_verdict], jobs=[canary_job]).resolve_job_def(canary_job.name),
        status=dg.DagsterRunStatus.STARTED,
    )
    assert "under way" in _tick(instance).skip_message
    instance.report_run_failed(run)
    assert isinstance(_tick(instance), dg.RunRequest)


def test_without_a_canary_nothing_is_asked_for(instance, paths):
    assert _tick(instance).skip_message == "there is no canary"
    metadata, check = _materialize(instance)
    assert (metadata["verdict"], check.passed) == ("none", True)


def test_a_damaged_pointer_is_said_in_the_tick(instance, paths, releases):
    (paths.releases / "canary").write_text("{")
    assert "is damaged" in _tick(instance).skip_message


def test_a_good_canary_is_promoted_with_its_figures(instance, paths, releases):
    old, new = releases
    _note(paths, 100, similarity=(0.7, 0.6), overlap10=0.9)
    metadata, check = _materialize(instance)
    assert (metadata["release_id"], metadata["against"], metadata["verdict"]) == (new, old, "promote")
    assert check.passed
    assert "| latency, p95 | 2.0 ms | 2.1 ms |" in metadata["comparison"]
    assert "| mean similarity of the nearest hit | 0.700 | 0.600 |" in metadata["comparison"]
    assert "overlap@10: 0.900" in metadata["comparison"]
    assert "data:image/png;base64," in metadata["comparison"]
    assert ReleaseRegistry(paths.releases).current_id() == new
    assert _tick(instance).skip_message == "there is no canary"


def test_a_bad_canary_is_rolled_back_and_the_check_says_why(instance, paths, releases):
    _note(paths, 30, failed=(True, False))
    assert isinstance(_tick(instance), dg.RunRequest)
    metadata, check = _materialize(instance)
    assert metadata["verdict"] == "roll back"
    assert not check.passed
    assert check.metadata["reason"].value.startswith("30 of 30 searches failed in the canary only")
    assert ReleaseRegistry(paths.releases).current_id() == releases[0]
