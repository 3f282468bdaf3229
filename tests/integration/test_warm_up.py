import pytest

from spark_jobs.warm_up import warm_up

pytestmark = pytest.mark.integration


def test_a_warm_session_holds_nothing_of_it(spark):
    # Other tests share the session.
    spark.catalog.clearCache()
    warm_up(spark)
    assert not list(spark.sparkContext._jsc.getPersistentRDDs())
    assert not spark.catalog.listTables()
