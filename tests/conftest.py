"""Fixtures that several kinds of tests share."""

import pytest

from tests.pipeline import Pipeline, write_bad_input, write_corpus


@pytest.fixture(scope="session")
def ingested(tmp_path_factory):
    """A pipeline after its first, undisturbed run over good and bad input; nobody may change it."""
    folder = tmp_path_factory.mktemp("ingested")
    pipeline = Pipeline(folder / "source", folder / "data")
    write_corpus(pipeline.source)
    pipeline.expected_rejects = write_bad_input(pipeline.source)
    succeeded, pipeline.output = pipeline.run()
    assert succeeded, pipeline.output + "\n".join(path.read_text() for path in (pipeline.data / "logs").glob("*.log"))
    return pipeline


@pytest.fixture
def copied(ingested, tmp_path):
    """A copy of the ingested pipeline that a test may change."""
    import shutil

    shutil.copytree(ingested.data, tmp_path / "data", symlinks=True)
    pipeline = Pipeline(ingested.source, tmp_path / "data")
    return pipeline
