"""The asset graph as it was reviewed: keys, dependencies, partitions, checks, jobs, schedules, sensors."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from forebay.settings import CorpusSettings
from orchestration.definitions import defs
from orchestration.defs.automation import ingest_nightly_schedule


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
        "projection": ["embeddings"],
        "index_shards": ["embeddings", "projection"],
        "evaluation": ["golden_questions", "index_shards"],
        "release": ["evaluation"],
        "canary_verdict": ["release"],
        "run_report": ["release"],
        "proposed_questions": ["chunks"],
        "maintenance": [],
        "generator_checkpoint": [],
        "generator_awq_checkpoint": ["generator_checkpoint"],
        "static_embedding_model": [],
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
        ("index_shards", "index_finds_what_exact_search_finds"),
        ("index_shards", "shards_hold_every_chunk"),
        ("evaluation", "candidate_is_not_worse"),
        ("canary_verdict", "canary_is_not_worse"),
        ("generator_awq_checkpoint", "awq_answers_like_the_base"),
    }
    # A bad AWQ checkpoint blocks nothing: the base model serves. Nothing is made from a canary that was rolled back.
    advisory = {key.name for key in graph.asset_check_keys if not graph.get(key).blocking}
    assert advisory == {"awq_answers_like_the_base", "canary_is_not_worse"}


def test_assets_that_start_a_jvm_share_a_pool_and_know_their_code():
    pools = {asset.key.to_user_string(): asset.op.pool for asset in defs.assets if asset.op.pool}
    assert pools == dict.fromkeys(("documents", "chunks", "embeddings", "index_shards"), "spark")
    for asset in defs.assets:
        has_version = any(asset.code_versions_by_key.values())
        assert has_version == (asset.key.to_user_string() in pools)


def test_a_release_is_expected_every_day(graph):
    policies = {
        key.to_user_string(): graph.get(key).freshness_policy
        for key in graph.get_all_asset_keys()
        if graph.get(key).freshness_policy
    }
    assert policies == {
        "release": dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=36), warn_window=timedelta(hours=26))
    }


def test_jobs_schedules_and_sensors():
    repository = defs.get_repository_def()
    assert {job.name for job in repository.get_all_jobs()} >= {
        "ingest_job",
        "backfill_job",
        "reembed_job",
        "maintenance_job",
        "canary_job",
        "quantize_generator_job",
        "weaviate_backup_job",
        "weaviate_restore_job",
    }
    assert {schedule.name for schedule in repository.schedule_defs} == {
        "ingest_nightly_schedule",
        "maintenance_weekly_schedule",
    }
    assert {sensor.name for sensor in repository.sensor_defs if "default" not in sensor.name} == {
        "sources_sensor",
        "abandoned_runs_sensor",
        "failed_runs_sensor",
        "canary_sensor",
    }


def test_another_model_needs_no_source():
    chosen = {key.to_user_string() for key in defs.resolve_job_def("reembed_job").asset_layer.selected_asset_keys}
    assert chosen == {"chunks", "embeddings", "projection", "index_shards", "evaluation", "release", "run_report"}


def test_people_go_before_the_clock_and_backfills_behind():
    tags = {job.name: job.tags for job in defs.get_repository_def().get_all_jobs()}
    assert int(tags["ingest_job"]["dagster/priority"]) == int(tags["quantize_generator_job"]["dagster/priority"]) == 10
    assert int(tags["backfill_job"]["dagster/priority"]) == -10
    assert (tags["ingest_job"]["forebay/work"], tags["backfill_job"]["forebay/work"]) == ("ingest", "backfill")


def test_the_night_run_covers_the_corpus_behind_people(monkeypatch):
    monkeypatch.setenv("FOREBAY_CORPUS_SOURCES", "/some/folder")
    context = dg.build_schedule_context(scheduled_execution_time=datetime(2030, 1, 2, 2, tzinfo=UTC))
    request = ingest_nightly_schedule(context)
    assert request.run_key == "2030-01-02"
    assert request.tags["dagster/priority"] == "0"
    assert request.tags["dagster/asset_partition_range_start"] == "s000"
    assert request.tags["dagster/asset_partition_range_end"] == f"s{CorpusSettings().shards - 1:03d}"


def test_the_night_run_without_sources_says_what_to_set(monkeypatch):
    monkeypatch.delenv("FOREBAY_CORPUS_SOURCES", raising=False)
    context = dg.build_schedule_context(scheduled_execution_time=datetime(2030, 1, 2, 2, tzinfo=UTC))
    assert "FOREBAY_CORPUS_SOURCES" in ingest_nightly_schedule(context).skip_message


def test_a_backfill_leaves_documents_and_release_alone():
    keys = {key.to_user_string() for key in defs.resolve_job_def("backfill_job").asset_layer.executable_asset_keys}
    assert keys == {"chunks", "embeddings", "index_shards"}
