import json

import pytest

from benchmarks import sizing
from benchmarks.sizing import MissingRateError, Plan, Rates, shard_count, size, table, write_section
from forebay.settings import LaunchSettings

# Round numbers, so that a person can check what follows from them.
MEASURED = {
    "docs_per_s_core": 50,
    "texts_per_s_core": 20,
    "chunks_per_doc": 2.5,
    "index_chunks_per_s_core": 500,
    "index_bytes_per_chunk": 2048,
    "index_build_bytes_per_chunk": 2**15,
    "bytes_per_doc_documents": 1000,
    "bytes_per_doc_chunks": 3000,
    "bytes_per_doc_embeddings": 4000,
    "parallel_efficiency": 0.8,
    "machine": "a machine of this test",
}
PLAN = Plan(documents=1_000_000, hours=2, executor_cores=4, executor_gib=20, workers_gib=16, releases=2)


@pytest.fixture
def write(tmp_path):
    def rates(**changes):
        path = tmp_path / "rates.json"
        path.write_text(json.dumps({**MEASURED, **changes}))
        return path

    return rates


def test_a_plan_worked_out_by_hand(write):
    # Documents: 1e6 / 50 = 20,000 core seconds; embeddings: 2.5e6 / 20 = 125,000; index: 2.5e6 / 500 = 5,000.
    # 150,000 / (2 h = 7,200 s x 4 cores x 0.8 = 23,040) = 6.5, so 7 executors, which do 22.4 core seconds a second.
    found = size(Rates.read(write()), PLAN)
    assert found.chunks == 2_500_000
    assert (found.executors, found.cores, found.memory_gib) == (7, 28, 140)
    # A worker has 0.75 x 16 / 4 GiB for 32 KiB a chunk, so 98,304 chunks; max(28 cores, 26 shards) = 28, so 32.
    assert found.shards == 32
    # 26.1 partitions of 256 MiB would leave cores without work.
    assert found.shuffle_partitions == 28
    assert found.hours["documents and chunks"] == pytest.approx(20_000 / 22.4 / 3600)
    assert found.hours["embeddings"] == pytest.approx(125_000 / 22.4 / 3600)
    # Two rounds of 28 for 32 shards: 56 / 32 = 1.75 of the time that it would take without rounds.
    assert found.hours["index"] == pytest.approx(5_000 / 22.4 / 3600 * 1.75)
    assert found.bytes == {
        "documents": 1e9,
        "chunks": 3e9,
        "embeddings": 4e9,
        "index": 5.12e9,
    }
    assert found.total_bytes == pytest.approx(8e9 + 2 * 5.12e9)


def test_twice_the_documents_take_the_machines_that_they_need(write):
    # 300,000 core seconds / 23,040 = 13.02, so 14.
    found = size(Rates.read(write()), Plan(**{**vars(PLAN), "documents": 2_000_000}))
    assert found.executors == 14


def test_a_shard_is_no_larger_than_a_worker_can_build(write):
    # A quarter of the memory, so 24,576 chunks: 101.7 shards.
    assert size(Rates.read(write()), Plan(**{**vars(PLAN), "workers_gib": 4})).shards == 128


def test_few_cores_shuffle_in_more_parts_than_they_are(write):
    # 0.65, so 1 executor of 4 cores; 7e9 bytes of chunks and vectors are 26.1 times 256 MiB.
    assert size(Rates.read(write()), Plan(**{**vars(PLAN), "hours": 20})).shuffle_partitions == 27


@pytest.mark.parametrize("workers_gib", [0.0, 21.0])
def test_workers_have_a_part_of_their_executors_memory(write, workers_gib):
    with pytest.raises(ValueError, match="a part of --executor-gib"):
        size(Rates.read(write()), Plan(**{**vars(PLAN), "workers_gib": workers_gib}))


@pytest.mark.parametrize(
    ("chunks", "cores", "limit", "shards"),
    [(1, 1, 100, 1), (100, 1, 100, 1), (101, 1, 100, 2), (100, 33, 100, 64), (4096 * 100, 1, 100, 4096)],
)
def test_shards_are_a_power_of_two(chunks, cores, limit, shards):
    assert shard_count(chunks, cores, limit) == shards


def test_more_shards_than_there_may_be_are_refused():
    with pytest.raises(ValueError, match="more memory"):
        shard_count(4096 * 100 + 1, 1, 100)


@pytest.mark.parametrize("name", MEASURED)
def test_a_missing_rate_is_named_and_nothing_is_computed(write, name):
    with pytest.raises(MissingRateError, match=name):
        Rates.read(write(**{name: None}))


def test_every_table_counts(write):
    rates = Rates.read(write(bytes_per_doc_quarantine=7))
    assert size(rates, PLAN).bytes["quarantine"] == 7e6


def test_the_page_holds_the_table_between_its_markers(write, tmp_path, monkeypatch, capsys):
    page = tmp_path / "sizing.md"
    page.write_text(f"before\n{sizing.BEGIN}\nold\n{sizing.END}\nafter\n")
    monkeypatch.setattr(sizing, "RATES", write())
    monkeypatch.setattr(sizing, "PAGE", page)
    assert sizing.main(["--documents", "1000000", "--hours", "2"]) == 0
    printed = capsys.readouterr().out
    text = page.read_text()
    assert text.startswith(f"before\n{sizing.BEGIN}\n| | |\n")
    assert text.endswith(f"{sizing.END}\nafter\n")
    assert "| chunks | 2,500,000 |" in text
    assert "a machine of this test" in text
    assert printed.strip() in text
    assert "old" not in text


def test_without_rates_the_page_stays_and_a_sentence_says_why(write, tmp_path, monkeypatch, capsys):
    page = tmp_path / "sizing.md"
    page.write_text("unchanged")
    monkeypatch.setattr(sizing, "RATES", write(texts_per_s_core=None))
    monkeypatch.setattr(sizing, "PAGE", page)
    assert sizing.main([]) == 1
    assert "texts_per_s_core" in capsys.readouterr().err
    assert page.read_text() == "unchanged"


def test_a_page_without_markers_is_an_error(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("no markers")
    with pytest.raises(ValueError, match="no section"):
        write_section(page, "text")


def test_the_real_page_and_rates_can_be_read():
    assert sizing.BEGIN in sizing.PAGE.read_text()
    assert sizing.PAGE.read_text().count(sizing.END) == 1
    assert json.loads(sizing.RATES.read_text()).keys() == MEASURED.keys()


def test_no_stage_of_the_real_plan_outlives_its_pod():
    hours = size(Rates.read(sizing.RATES), Plan()).hours
    assert max(hours.values()) * 3600 < LaunchSettings().pod_wait_timeout_s


def test_the_table_names_decisions_and_machine(write):
    rates = Rates.read(write())
    text = table(rates, PLAN, size(rates, PLAN))
    assert "| executors | 7 of 4 cores and 20 GiB |" in text
    assert "Rates measured on: a machine of this test." in text
