"""Fixtures that several kinds of tests share."""

import os
import sys
from pathlib import Path

import pytest

from tests.pipeline import Pipeline, write_bad_input, write_corpus

if "PYTEST_XDIST_WORKER" in os.environ:
    # PySpark ends a process whose main module has no file, which it takes for one of its doctests.
    sys.modules["__main__"].__file__ = str(Path(__file__).with_name("__init__.py"))

# They share the pipeline of `ingested`, which takes a minute, and its services.
_OVER_INGESTED = (
    "tests/e2e/",
    "tests/integration/test_backfill",
    "tests/integration/test_pipeline",
    "tests/integration/test_reembed",
)


def pytest_collection_modifyitems(items):
    """Begin with what takes long, so that no process is left alone with it in the end."""
    items.sort(key=lambda item: not item.nodeid.startswith(("tests/e2e/", "tests/integration/")))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Keep together, in one of `make test`'s processes, the tests of a file, and those that share a pipeline."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return "ingested" if nodeid.startswith(_OVER_INGESTED) else nodeid.split("::")[0]

    return ByFile(config, log)


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
