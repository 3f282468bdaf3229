import pytest

from forebay.settings import CorpusSettings
from forebay.sources import unit_list
from forebay.sources.contract import Changes, ReadUnit
from forebay.tables import unit_table
from spark_jobs.parse_documents.reading import parser_fingerprint, plan_reading, record_units


@pytest.fixture
def units(tmp_path):
    table = unit_table(tmp_path)
    table.prepare("run-1")
    return table


def _changes(*entries, is_snapshot=True):
    return Changes([ReadUnit(uri, "text", version, uri.encode()) for uri, version in entries], "c", is_snapshot)


def _read(units, listing, retried=(), parser="p", source="s"):
    plan = plan_reading(listing, units, source, parser)
    record_units(units, plan, retried, source=source, parser=parser)
    return plan


def test_only_what_changed_is_read_again(units):
    assert [unit.uri for unit in _read(units, _changes(("a", "1"), ("b", "1"), ("c", "1"))).units] == ["a", "b", "c"]
    plan = _read(units, _changes(("a", "1"), ("b", "2"), ("d", "1")))
    assert [unit.uri for unit in plan.units] == ["b", "d"]
    assert (plan.kept.to_pylist(), plan.gone.to_pylist()) == (["a"], ["c"])
    assert _read(units, _changes(("a", "1"), ("b", "2"), ("d", "1"))).is_idle


def test_a_unit_whose_reject_may_pass_is_read_again(units):
    _read(units, _changes(("a", "1"), ("b", "1")), retried=["b"])
    assert [unit.uri for unit in _read(units, _changes(("a", "1"), ("b", "1"))).units] == ["b"]
    assert _read(units, _changes(("a", "1"))).gone.to_pylist() == ["b"]


def test_another_way_of_parsing_reads_everything_again(units):
    _read(units, _changes(("a", "1")))
    assert len(_read(units, _changes(("a", "1")), parser="other").units) == 1
    assert parser_fingerprint(CorpusSettings()) != parser_fingerprint(CorpusSettings(max_document_bytes=5))


def test_sources_do_not_know_of_each_other(units):
    _read(units, _changes(("a", "1")))
    plan = _read(units, _changes(("a", "1")), source="it's another")
    assert len(plan.units) == 1
    assert not len(plan.gone)
    assert _read(units, _changes(("a", "1"))).is_idle


def test_a_stream_is_read_as_it_comes_and_loses_nothing(units):
    plan = plan_reading(_changes(("t/0", ""), is_snapshot=False), units, "s", "p")
    assert len(plan.units) == 1
    assert not len(plan.gone)
    assert plan_reading(_changes(is_snapshot=False), units, "s", "p").is_idle


def test_a_file_in_ranges_is_noted_once_wherever_the_columns_are_divided(units, monkeypatch):
    monkeypatch.setattr(unit_list, "_BATCH_UNITS", 2)
    names = ["a", "b", "b", "b", "b", "b", "c", "c", "d"]
    listing = Changes([ReadUnit(name, "jsonl", f"v{name}", b"", n, n + 1) for n, name in enumerate(names)], "c")
    assert len(_read(units, listing, retried={"c"}).units) == 9
    rows = units.published().to_table(columns=["uri", "version"]).to_pylist()
    assert [tuple(row.values()) for row in rows] == [("a", "va"), ("b", "vb"), ("c", ""), ("d", "vd")]
    plan = _read(units, listing)
    assert [unit.uri for unit in plan.units] == ["c", "c"]
    assert plan.kept.to_pylist() == ["a", "b", "d"]
