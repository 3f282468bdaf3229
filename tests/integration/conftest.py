"""The one Spark session of this process."""

import pytest

from forebay.settings import PathSettings, SparkSettings
from spark_jobs.session import spark_session, stop_session


@pytest.fixture(scope="session")
def spark(tmp_path_factory):
    paths = PathSettings(data=tmp_path_factory.mktemp("spark"))
    with spark_session("test", SparkSettings(), paths) as session:
        yield session
    stop_session()
