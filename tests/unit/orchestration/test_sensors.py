import json
import threading

import dagster as dg
import pytest

from forebay.errors import ConfigurationError
from forebay.settings import CorpusSettings
from forebay.sources.contract import Changes, ReadUnit
from orchestration.defs import sensors
from orchestration.defs.automation import INGEST_JOB
from orchestration.defs.sensors import abandoned_runs_sensor, sources_sensor


class Stream:
    """A source with messages, of which a run takes three at a time."""

    def __init__(self, end):
        self.end = end
        self.taken = 0

    def changes(self, cursor):
        last = min(self.taken + 3, self.end)
        units = [ReadUnit("topic/0", "row", "", b"0", self.taken, last)] if last > self.taken else []
        return Changes(units, json.dumps({"0": last}), is_snapshot=False)


class Broken:
    def __init__(self, error):
        self.error = error

    def changes(self, cursor):
        raise self.error


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def tick(instance, monkeypatch):
    """Give a function that runs one tick; each goes on from the one before."""
    state = {"cursor": None, "number": 0}
    monkeypatch.setattr(sensors, "_UNDER_WAY", {})

    def run(*names, **opened):
        monkeypatch.setenv("FOREBAY_CORPUS_SOURCES", json.dumps(list(map(str, names))))
        if opened:
            monkeypatch.setattr(sensors, "open_source", lambda name: opened[name.removeprefix("test://")])
        state["number"] += 1
        context = dg.SensorEvaluationContext(
            None, last_tick_completion_time=float(state["number"]), cursor=state["cursor"], instance=instance
        )
        result = sources_sensor(context)
        if isinstance(result, dg.SensorResult):
            state["cursor"] = result.cursor
        return result

    return run


def asked(result):
    """The sources of the run that a tick asks for."""
    if isinstance(result, dg.SkipReason) or not result.run_requests:
        return None
    (request,) = result.run_requests
    return request.run_config["ops"]["documents"]["config"]["sources"]


@pytest.fixture
def folders(tmp_path):
    made = [tmp_path / "a", tmp_path / "b"]
    for folder in made:
        folder.mkdir()
        (folder / "one.txt").write_text("one")
    return made


def test_a_run_takes_the_sources_that_changed(tick, folders):
    a, b = folders
    assert asked(tick(a, b)) == [str(a), str(b)]
    assert tick(a, b).skip_reason.skip_message == "nothing changed"
    (b / "two.txt").write_text("two")
    assert asked(tick(a, b)) == [str(b)]
    assert asked(tick(a, b)) is None


def test_a_run_covers_the_corpus_and_waits_behind_people(tick, folders):
    (request,) = tick(folders[0]).run_requests
    assert request.tags["dagster/asset_partition_range_start"] == "s000"
    assert request.tags["dagster/asset_partition_range_end"] == f"s{CorpusSettings().shards - 1:03d}"
    assert request.tags["dagster/priority"] == "0"


def test_a_change_and_the_change_back_are_two_runs(tick, folders):
    extra = folders[0] / "two.txt"
    keys = []
    for change in (lambda: None, lambda: extra.write_text("two"), extra.unlink):
        change()
        (request,) = tick(folders[0]).run_requests
        keys.append(request.run_key)
    assert len(set(keys)) == 3


def test_nothing_is_asked_for_while_a_run_waits_or_works(tick, folders, instance):
    @dg.job(name=INGEST_JOB)
    def ingest():
        pass

    run = instance.create_run_for_job(ingest, status=dg.DagsterRunStatus.STARTED)
    assert isinstance(tick(folders[0]), dg.SkipReason)
    instance.report_run_canceled(run)
    assert asked(tick(folders[0])) == [str(folders[0])]


def test_a_stream_is_taken_in_batches_until_it_is_read(tick):
    stream = Stream(end=7)
    for taken in (3, 6, 7):
        assert asked(tick("test://stream", stream=stream)) == ["test://stream"]
        stream.taken = taken
    assert asked(tick("test://stream", stream=stream)) is None
    stream.end = 8
    assert asked(tick("test://stream", stream=stream)) == ["test://stream"]


def test_a_batch_that_failed_is_not_tried_every_minute(tick):
    stream = Stream(end=7)
    assert asked(tick("test://stream", stream=stream)) == ["test://stream"]
    assert asked(tick("test://stream", stream=stream)) is None


@pytest.mark.parametrize("error", [ConfigurationError("it is not there."), RuntimeError("library trouble")])
def test_a_broken_source_does_not_stop_the_others(tick, error):
    opened = {"broken": Broken(error), "stream": Stream(end=1)}
    assert asked(tick("test://broken", "test://stream", **opened)) == ["test://stream"]
    result = tick("test://broken", **opened)
    assert result.skip_reason.skip_message == f"nothing changed; test://broken: {error}"


def test_sources_that_a_tick_has_no_time_for_are_first_in_the_next(tick, monkeypatch):
    monkeypatch.setattr(sensors, "_BUDGET_S", -1.0)
    opened = {"one": Stream(end=1), "two": Stream(end=1)}
    result = tick("test://one", "test://two", **opened)
    assert json.loads(result.cursor)["next"] == "test://one"
    clock = iter([0.0, 0.0, 100.0])
    monkeypatch.setattr(sensors, "_BUDGET_S", 30.0)
    monkeypatch.setattr(sensors.time, "monotonic", lambda: next(clock))
    result = tick("test://one", "test://two", **opened)
    assert asked(result) == ["test://one"]
    assert json.loads(result.cursor)["next"] == "test://two"
    clock = iter([0.0, 0.0, 100.0])
    assert asked(tick("test://one", "test://two", **opened)) == ["test://two"]


class Slow:
    """A source whose listing takes until somebody lets it go on."""

    def __init__(self):
        self.listings, self.may_go_on = 0, threading.Event()

    def changes(self, cursor):
        self.listings += 1
        assert self.may_go_on.wait(30)
        return Changes([ReadUnit("a", "text", "1", b"a")], f"cursor {self.listings}")


def test_a_listing_that_takes_longer_than_a_tick_keeps_nobody_waiting_and_is_taken_by_a_later_one(tick, monkeypatch):
    monkeypatch.setattr(sensors, "_BUDGET_S", 0.3)
    slow = Slow()
    opened = {"slow": slow, "stream": Stream(end=1)}
    first = tick("test://slow", "test://stream", **opened)
    assert asked(first) is None
    assert "test://slow: it is still being listed" in first.skip_reason.skip_message
    assert json.loads(first.cursor)["next"] == "test://stream"
    assert asked(tick("test://slow", "test://stream", **opened)) == ["test://stream"]
    slow.may_go_on.set()
    monkeypatch.setattr(sensors, "_BUDGET_S", 30.0)
    third = tick("test://slow", "test://stream", **opened)
    assert asked(third) == ["test://slow"]
    assert json.loads(third.cursor)["cursors"]["test://slow"] == "cursor 1"
    assert slow.listings == 1


def test_a_listing_of_a_source_that_is_no_longer_configured_is_forgotten(tick, monkeypatch):
    monkeypatch.setattr(sensors, "_BUDGET_S", 0.1)
    slow = Slow()
    tick("test://slow", slow=slow)
    slow.may_go_on.set()
    monkeypatch.setattr(sensors, "_BUDGET_S", 30.0)
    tick("test://stream", stream=Stream(end=1))
    assert asked(tick("test://slow", slow=slow)) == ["test://slow"]
    assert slow.listings == 2


def test_a_source_that_is_no_longer_configured_is_forgotten(tick, folders):
    a, b = folders
    tick(a, b)
    assert set(json.loads(tick(a).cursor)["cursors"]) == {str(a)}


@pytest.mark.parametrize("cursor", ["0f3a", "17", "[]", '{"seen": 1}', ""])
def test_a_cursor_of_an_earlier_version_is_a_fresh_start(folders, instance, monkeypatch, cursor):
    monkeypatch.setenv("FOREBAY_CORPUS_SOURCES", str(folders[0]))
    result = sources_sensor(dg.build_sensor_context(instance=instance, cursor=cursor))
    assert asked(result) == [str(folders[0])]


def test_without_sources_the_sensor_says_what_to_set(monkeypatch):
    monkeypatch.delenv("FOREBAY_CORPUS_SOURCES", raising=False)
    assert "FOREBAY_CORPUS_SOURCES" in sources_sensor(dg.build_sensor_context()).skip_message


def test_abandoned_runs_are_looked_for_from_the_first_day(instance):
    assert abandoned_runs_sensor.default_status == dg.DefaultSensorStatus.RUNNING
    result = abandoned_runs_sensor(dg.build_sensor_context(instance=instance))
    assert result.skip_message == "every run has its process"
