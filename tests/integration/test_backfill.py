"""Backfills of some partitions, with the real index job."""

import dagster as dg
import pytest

from forebay.candidates import Candidate
from forebay.documents import partition_key, partition_keys
from forebay.errors import ReleaseError
from orchestration.defs.index import index_shards
from orchestration.defs.release import evaluation, release
from orchestration.resources import resources
from tests.pipeline import SHARDS as _SHARDS

pytestmark = pytest.mark.integration


def test_shards_of_a_partial_backfill_become_no_release_until_all_are_there(ingested, copied, monkeypatch):
    # The copied folder's number, which may differ from the one that the definitions were imported with.
    shards = dg.StaticPartitionsDefinition(partition_keys(_SHARDS))
    monkeypatch.setattr("orchestration.resources.SHARDS", shards)
    (asset,) = dg.map_asset_specs(lambda spec: spec.replace_attributes(partitions_def=shards), [index_shards])

    def backfill(first, last):
        keys = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
        assert dg.materialize([asset], tags=keys, resources=resources()).success
        return Candidate.load(copied.paths.shards).shards

    monkeypatch.setenv("FOREBAY_DATA", str(copied.data))
    monkeypatch.setenv("FOREBAY_INDEX_HNSW_M", "12")
    before = {ref.number: ref for ref in copied.release.shards}
    partial = backfill("s000", "s000")
    assert list(partial) == [0]
    assert partial[0].content != before[0].content
    with pytest.raises(ReleaseError, match="not whole: of its shards s001, s002 hold other chunks"):
        dg.materialize([evaluation, release])
    assert copied.release_id == ingested.release_id
    # The others by themselves: the shard that is there already is found and kept.
    whole = backfill("s001", partition_key(_SHARDS - 1))
    assert sorted(whole) == sorted(before)
    assert whole[0] == partial[0]
    assert dg.materialize([evaluation, release]).success
    assert set(copied.release.shards) == set(whole.values())
