"""What is told of a stage while it runs."""

import time
from itertools import pairwise

import pytest

from spark_jobs.progress import told_progress

pytestmark = pytest.mark.integration

_TIMEOUT_S = 60


def test_a_stage_is_told_of_while_it_runs(spark, tmp_path):
    goes_on = tmp_path / "goes-on"
    told: list[str] = []

    def tell(sentence: str) -> None:
        told.append(sentence)
        if sentence == "3 of 6 tasks done":
            goes_on.touch()

    def wait(batches):
        for batch in batches:
            until = time.monotonic() + _TIMEOUT_S
            while batch.column(0)[0].as_py() >= 3 and not goes_on.exists() and time.monotonic() < until:
                time.sleep(0.05)
            yield batch

    with told_progress(spark, tell, first_s=0.05):
        assert spark.range(0, 6, numPartitions=6).mapInArrow(wait, "id long").count() == 6
    assert "3 of 6 tasks done" in told
    assert all(one != other for one, other in pairwise(told))


def test_nothing_is_told_of_what_is_soon_done(spark):
    told: list[str] = []
    with told_progress(spark, told.append):
        spark.range(10).count()
    assert told == []
