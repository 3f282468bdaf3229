import pytest

from spark_jobs.warm_up import warm_up

pytestmark = pytest.mark.integration


def test_a_warm_session_holds_nothing_of_it(spark):
    warm_up(spark)
    assert not list(spark.sparkContext._jsc.getPersistentRDDs())
    assert not spark.catalog.listTables()
