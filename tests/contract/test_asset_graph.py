"""The asset graph as it was reviewed: keys, dependencies, partitions, checks, jobs, schedules, sensors."""

import dagster as dg
import pytest

from forebay.settings import CorpusSettings
from orchestration.definitions import defs


@pytest.fixture(scope="module")
def graph():
    return defs.resolve_asset_graph()


def test_assets_and_what_they_are_made_from(graph):
    edges = {
        key.to_user_string(): sorted(parent.to_user_string() for parent in graph.get(key).parent_keys)
        for key in graph.get_all_asset_keys()
    }
    assert edges == {
        "documents": [],
        "golden_questions": [],
        "chunks": ["documents"],
        "embeddings": ["chunks"],
        "index_shards": ["embeddings"],
        "evaluation": ["golden_questions", "index_shards"],
        "release": ["evaluation"],
        "generator_checkpoint": [],
        "generator_awq_checkpoint": ["generator_checkpoint"],
    }


def test_the_tables_are_partitioned_by_shard(graph):
    keys = [f"s{number:03d}" for number in range(CorpusSettings().shards)]
    for name in ("documents", "chunks", "embeddings", "index_shards"):
        partitions = graph.get(dg.AssetKey(name)).partitions_def
        assert partitions.get_partition_keys() == keys
        assert graph.get(dg.AssetKey(name)).backfill_policy == dg.BackfillPolicy.single_run()


def test_every_check_of_the_pipeline_blocks(graph):
    checks = {(key.asset_key.to_user_string(), key.name) for key in graph.asset_check_keys}
    assert checks == {
        ("documents", "document_ids_are_unique"),
        ("documents", "source_has_documents"),
        ("documents", "rejected_share_is_small"),
        ("documents", "documents_match_the_schema"),
        ("documents", "documents_have_text"),
        ("chunks", "chunk_ids_are_unique"),
        ("chunks", "every_document_has_chunks"),
        ("chunks", "chunks_fit_the_model"),
        ("chunks", "chunks_have_text"),
        ("embeddings", "every_chunk_has_a_vector"),
        ("embeddings", "embedded_texts_are_unique"),
        ("embeddings", "vectors_have_the_right_dimension"),
        ("embeddings", "vectors_are_finite_unit_vectors"),
        ("embeddings", "vectors_differ"),
        ("index_shards", "shards_hold_every_chunk"),
        ("evaluation", "candidate_is_not_worse"),
        ("generator_awq_checkpoint", "awq_answers_like_the_base"),
    }
    # A bad AWQ checkpoint blocks nothing: the base model serves.
    advisory = {key.name for key in graph.asset_check_keys if not graph.get(key).blocking}
    assert advisory == {"awq_answers_like_the_base"}


def test_jobs_schedules_and_sensors():
    repository = defs.get_repository_def()
    assert {job.name for job in repository.get_all_jobs()} >= {"ingest_job", "quantize_generator_job"}
    assert [schedule.name for schedule in repository.schedule_defs] == ["ingest_nightly_schedule"]
    assert [sensor.name for sensor in repository.sensor_defs if "default" not in sensor.name] == [
        "source_folder_sensor"
    ]


def test_the_folder_sensor_runs_the_job_once_per_change(tmp_path, monkeypatch):
    from orchestration.defs.automation import source_folder_sensor

    (tmp_path / "a.txt").write_text("one")
    monkeypatch.setenv("FOREBAY_CORPUS_SOURCE", str(tmp_path))
    first = source_folder_sensor(dg.build_sensor_context())
    assert len(first.run_requests) == 1
    assert first.run_requests[0].tags["dagster/asset_partition_range_end"] == f"s{CorpusSettings().shards - 1:03d}"
    again = source_folder_sensor(dg.build_sensor_context(cursor=first.cursor))
    assert isinstance(again, dg.SkipReason)
    (tmp_path / "a.txt").write_text("two!")
    assert len(source_folder_sensor(dg.build_sensor_context(cursor=first.cursor)).run_requests) == 1


def test_the_sensor_without_a_source_says_what_to_set(monkeypatch):
    from orchestration.defs.automation import source_folder_sensor

    monkeypatch.delenv("FOREBAY_CORPUS_SOURCE", raising=False)
    assert "FOREBAY_CORPUS_SOURCE" in source_folder_sensor(dg.build_sensor_context()).skip_message
