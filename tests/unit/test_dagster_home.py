import dagster as dg
import pytest
from dagster._core.instance.config import PoolGranularity

from forebay.dagster_home import prepare_dagster_home
from forebay.settings import PathSettings

FIRST_VERSION = "telemetry:\n  enabled: false\n"
SECOND_VERSION = "telemetry:\n  enabled: false\nnux:\n  enabled: false\nrun_monitoring:\n  enabled: true\n"


@pytest.fixture
def paths(tmp_path):
    return PathSettings(data=tmp_path / "data")


def written(paths):
    return (prepare_dagster_home(paths) / "dagster.yaml").read_text()


def test_dagster_takes_every_line_of_it(paths):
    with dg.DagsterInstance.from_config(str(prepare_dagster_home(paths))) as instance:
        concurrency = instance.get_concurrency_config()
        assert not instance.telemetry_enabled
        assert not instance.nux_enabled
        assert instance.run_monitoring_enabled
        assert instance.run_retries_enabled
        assert instance.get_settings("run_retries") == {
            "enabled": True,
            "max_retries": 2,
            "retry_on_asset_or_op_failure": False,
        }
        assert instance.run_monitoring_settings["free_slots_after_run_end_seconds"] == 300
    assert concurrency.pool_config.default_pool_limit == 1
    assert concurrency.pool_config.pool_granularity == PoolGranularity.RUN
    assert concurrency.run_queue_config.max_concurrent_runs == 4
    limits = {limit["key"]: limit["limit"] for limit in concurrency.run_queue_config.tag_concurrency_limits}
    assert limits == {"forebay/work": 1, "dagster/backfill": 1}


@pytest.mark.parametrize("earlier", [FIRST_VERSION, SECOND_VERSION])
def test_what_an_earlier_version_wrote_is_replaced(paths, earlier):
    new = written(paths)
    configuration = paths.dagster / "dagster.yaml"
    configuration.write_text(earlier)
    assert written(paths) == new


def test_what_a_later_version_replaces_is_what_this_one_wrote(paths, monkeypatch):
    old = written(paths)
    monkeypatch.setattr("forebay.dagster_home._INSTANCE", "telemetry:\n  enabled: false\n# newer\n")
    new = written(paths)
    assert new != old
    assert new.endswith("# newer\n")


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text + "sensors:\n  use_threads: true\n",
        lambda text: text.partition("\n")[2],
        lambda text: "# mine\n" + text,
        lambda text: "storage:\n  postgres:\n    postgres_url: x\n",
        lambda text: "",
    ],
)
def test_what_somebody_has_changed_is_kept(paths, change):
    changed = change(written(paths))
    configuration = paths.dagster / "dagster.yaml"
    configuration.write_text(changed)
    assert written(paths) == changed
