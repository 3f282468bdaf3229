"""From the chunk table to hits with releases in Weaviate: a real Spark session, against a double of the protocol."""

import dagster as dg
import pyarrow as pa
import pytest

from bentos.retriever.protocol import SearchItem
from bentos.retriever.searching import answer_batch, open_release
from bentos.retriever.switching import ReleaseFollower
from forebay.block_store import BlockStore
from forebay.candidates import Candidate
from forebay.cli.explain import explain_question
from forebay.doctor import Status, check_release
from forebay.embedding.choice import resolve_spec
from forebay.embedding.sentence_transformer import load_embedder
from forebay.errors import ReleaseError
from forebay.maintenance import maintain
from forebay.release_transfer import push
from forebay.releases import ReleaseRegistry
from forebay.settings import (
    EmbeddingSettings,
    IndexSettings,
    MaintenanceSettings,
    PathSettings,
    ServingSettings,
    WeaviateSettings,
)
from forebay.store.contract import SearchMode
from forebay.store.weaviate_backup import back_up, restore
from forebay.store.weaviate_store import connected_store
from forebay.store.weaviate_tenants import SHARED, tenant_name
from forebay.tables import chunk_table, document_table, embedding_table
from orchestration.definitions import defs
from orchestration.defs.release import evaluation, release
from spark_jobs.load_index.main import load_index
from spark_jobs.pipes import JobOrders, Reporter
from tests.releases import chunk_rows
from tests.weaviate_wire import Wire, serve

pytestmark = pytest.mark.integration

_SHARDS = 3
_TEXTS = ["turbines turn water", "the penstock leads water", "a forebay holds water", "wings lift", "flutter of panels"]


class _Context:
    """What a job reports to, in memory."""

    def __init__(self):
        self.log, self.checks, self.metadata = self, {}, {}

    def info(self, message):
        pass

    def report_asset_check(self, check_name, passed, **_):
        self.checks[check_name] = passed

    def report_asset_materialization(self, metadata):
        self.metadata = metadata


class Cluster:
    """A data folder whose releases lie in the double."""

    def __init__(self, wire, paths):
        self.wire, self.paths, self.registry = wire, paths, ReleaseRegistry(paths.releases)
        self.spec = resolve_spec(EmbeddingSettings(), paths)
        self.embedder = load_embedder(self.spec, paths.models)
        document_table(paths.tables).prepare()
        document_table(paths.tables).publish()

    def publish(self, texts, metadata=None):
        held = metadata or [{}] * len(texts)
        rows = chunk_rows([(f"d{n}", "", text, held[n]) for n, text in enumerate(texts)], self.embedder)
        more = {"chunk_no": 0, "n_tokens": 3, "chunker": "c", "run_id": "r"}
        rows = [row | more | {"shard": n % _SHARDS, "doc_hash": row["text_hash"]} for n, row in enumerate(rows)]
        for table in (chunk_table(self.paths.tables), embedding_table(self.paths.tables, self.spec)):
            table.prepare()
            columns = {field.name: [row[field.name] for row in rows] for field in table.schema}
            table.replace(pa.table(columns, schema=table.schema))
            table.publish()
        return {row["chunk_id"]: row["shard"] for row in rows}

    def load(self, *shards):
        context, before = _Context(), len(self.wire.received)
        load_index(JobOrders("run", shards, _SHARDS, ()), Reporter(context))
        assert all(context.checks.values())
        return context.metadata, self.wire.received[before:]

    def make_release(self):
        assert dg.materialize([evaluation, release]).success
        return self.registry.current()

    @property
    def alias(self):
        return self.wire.aliases["ForebayChunks"].removeprefix("ForebayChunks_")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, spark):
    wire = Wire()
    serve(wire)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FOREBAY_DATA", str(tmp_path_factory.mktemp("data")))
        patch.setenv("FOREBAY_CORPUS_SHARDS", str(_SHARDS))
        patch.setenv("FOREBAY_EMBEDDING_ENGINE", "torch")
        patch.setenv("FOREBAY_EMBEDDING_PRECISION", "fp32")
        patch.setenv("FOREBAY_INDEX_STORE", "weaviate")
        patch.setenv("FOREBAY_WEAVIATE_URL", wire.url)
        patch.setenv("FOREBAY_WEAVIATE_GRPC_PORT", str(wire.grpc_port))
        yield Cluster(wire, PathSettings())
    wire.stop()


def test_releases_are_loaded_promoted_searched_rolled_back_and_cleaned(cluster):
    shards = cluster.publish(_TEXTS)
    of_first = {key for key, shard in shards.items() if shard == 0}
    metadata, sent = cluster.load(0)
    assert set(sent) == of_first
    assert metadata["dagster/row_count"] == len(of_first)
    with pytest.raises(ReleaseError, match="s001, s002"):
        Candidate.load(cluster.paths.shards).require_whole(chunk_table(cluster.paths.tables).rows_per_shard())
    # Maintenance between two loads of a part of the partitions keeps what the first one loaded.
    assert maintain(cluster.paths, MaintenanceSettings(retention_days=0)).collections_removed == 0
    cluster.wire.queue = [3]
    metadata, sent = cluster.load(0, 1, 2)
    assert cluster.wire.queue == []
    assert sorted(sent) == sorted(shards.keys() - of_first)
    assert (metadata["rows_shards_built"], metadata["rows_shards_kept"]) == (2, 1)
    assert cluster.load(0, 1, 2)[1] == []

    first = cluster.make_release()
    assert (cluster.alias, first.index.store, first.chunks) == (first.release_id, "weaviate", len(_TEXTS))
    follower = ReleaseFollower(cluster.registry, lambda manifest: open_release(manifest, cluster.paths))
    assert follower.refresh(), follower.problem
    (outcome,) = answer_batch(follower, [SearchItem(question="penstock")])
    assert (outcome.release, outcome.hits[0].doc_id) == (first.release_id, "d1")

    cluster.publish([*_TEXTS, "boundary layers"])
    cluster.load(0, 1, 2)
    second = cluster.make_release()
    assert cluster.alias == second.release_id != first.release_id
    (outcome,) = answer_batch(follower, [SearchItem(question="penstock")])
    assert outcome.release == first.release_id
    assert follower.refresh()
    (outcome,) = answer_batch(follower, [SearchItem(question="boundary")])
    assert (outcome.release, outcome.hits[0].doc_id) == (second.release_id, "d5")
    follower.stop()

    assert cluster.registry.rollback(shards=cluster.paths.shards) == cluster.alias == first.release_id
    # A restored cluster has no alias; promoting what is current makes it again.
    cluster.wire.aliases.clear()
    cluster.registry.promote(first.release_id, shards=cluster.paths.shards)
    assert cluster.alias == cluster.registry.current_id() == first.release_id

    with connected_store() as store:
        store.prepare("0123456789abcdef", IndexSettings())
    done = maintain(cluster.paths, MaintenanceSettings(retention_days=0))
    assert done.collections_removed == 1
    assert set(cluster.wire.classes) == {f"ForebayChunks_{one.release_id}" for one in (first, second)}


def test_a_release_that_lost_chunks_is_not_promoted_and_the_pointer_stays(cluster):
    current, other = cluster.registry.current_id(), cluster.registry.previous_id()
    cluster.wire.objects[f"ForebayChunks_{other}"].popitem()
    assert check_release(cluster.paths).status == Status.OK
    with pytest.raises(ReleaseError, match="holds 5 of 6 chunks"):
        cluster.registry.promote(other, shards=cluster.paths.shards)
    assert cluster.alias == cluster.registry.current_id() == current


def test_a_backup_brings_a_lost_collection_and_its_alias_back(cluster):
    current = cluster.registry.current()
    name = f"ForebayChunks_{current.release_id}"
    before = dict(cluster.wire.objects[name])
    cluster.wire.backup_states = ["TRANSFERRING"]
    assert defs.resolve_job_def("weaviate_backup_job").execute_in_process().success
    with pytest.raises(ReleaseError, match="is in Weaviate already"):
        defs.resolve_job_def("weaviate_restore_job").execute_in_process()
    cluster.wire.drop(name)
    cluster.wire.aliases.clear()
    assert defs.resolve_job_def("weaviate_restore_job").execute_in_process().success
    assert (cluster.wire.objects[name], cluster.alias) == (before, current.release_id)


def test_backups_that_fail_are_named(cluster):
    current, settings = cluster.registry.current(), WeaviateSettings(backup_backend="s3")
    cluster.wire.backup_states = ["FAILED"]
    with pytest.raises(ReleaseError, match=r"'full' of 'ForebayChunks_.*on 's3'.*bucket is full"):
        back_up(current, "full", settings)
    with pytest.raises(ReleaseError, match="backup already exists"):
        back_up(current, "full", settings)
    cluster.wire.classes.clear()
    cluster.wire.objects.clear()
    assert f"no collection 'ForebayChunks_{current.release_id}'" in check_release(cluster.paths).finding
    with pytest.raises(ReleaseError, match="no such backup"):
        restore(current, "another", settings)
    with pytest.raises(ReleaseError, match="lies in files"):
        restore(current.model_copy(update={"index": IndexSettings(store="embedded")}), "another", settings)


def test_tenants_lie_apart_and_answer_for_their_callers_only(cluster, monkeypatch):
    monkeypatch.setenv("FOREBAY_INDEX_TENANTS", "true")
    audiences = [{}, {"tenant": "acme"}, {"tenant": "globex"}, {}, {"tenant": "acme"}]
    shards = cluster.publish(_TEXTS, audiences)
    assert sorted(cluster.load(0, 1, 2)[1]) == sorted(shards)
    assert cluster.load(0, 1, 2)[1] == []
    candidate = Candidate.load(cluster.paths.shards)
    places = cluster.wire.of_collection(f"ForebayChunks_{candidate.release}")
    held = {place.partition("/")[2]: len(objects) for place, objects in places.items()}
    assert held == {SHARED: 2, tenant_name("acme"): 2, tenant_name("globex"): 1}
    made = cluster.make_release()
    assert (made.release_id, made.index.tenants) == (candidate.release, True)
    follower = ReleaseFollower(cluster.registry, lambda manifest: open_release(manifest, cluster.paths))
    assert follower.refresh(), follower.problem
    callers = {None: {"d0", "d3"}, "acme": {"d0", "d1", "d3", "d4"}, "none": {"d0", "d3"}}
    for tenant, expected in callers.items():
        (outcome,) = answer_batch(follower, [SearchItem(question="water", tenant=tenant)])
        assert {hit.doc_id for hit in outcome.hits} == expected
    follower.stop()


def test_what_needs_files_says_so(cluster, tmp_path):
    with pytest.raises(ReleaseError, match="weaviate_backup_job"):
        push(cluster.registry, cluster.paths.shards, cluster.registry.current_id(), BlockStore(str(tmp_path)))
    with pytest.raises(ReleaseError, match="lies in Weaviate"):
        explain_question(
            "wings", cluster.paths, None, mode=SearchMode.BM25, top_k=3, where={}, serving=ServingSettings()
        )
