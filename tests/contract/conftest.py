"""Fixtures of the suites that every vector store has to pass."""

import pytest

from forebay.testing import HashEmbedder
from tests.stores import STORES


@pytest.fixture(scope="module", params=STORES.values(), ids=STORES)
def store_type(request):
    return request.param


@pytest.fixture(scope="module")
def embedder():
    return HashEmbedder()
