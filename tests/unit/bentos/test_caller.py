import json
import re

import httpx
import pytest

from bentos.gateway.app import Backends, create_app
from bentos.gateway.draining import Drain
from bentos.retriever.protocol import RetrieverStatus, SearchItem, SearchOutcome
from bentos.retriever.searching import answer_batch
from bentos.retriever.switching import Opened, ReleaseFollower
from forebay.releases import ReleaseRegistry
from forebay.settings import GeneratorSettings, IndexSettings, ServingSettings
from forebay.store.qdrant_edge import QdrantEdgeStore
from tests.unit.bentos.conftest import SPEC, AxisEmbedder, ScriptedGeneration

_HEADERS = {"tenant_header": "X-Tenant", "groups_header": "X-Groups"}
_METADATA = {
    "0": {},
    "1": {"tenant": "acme"},
    "2": {"tenant": "globex"},
    "3": {"tenant": "acme", "groups": ["hr"]},
    "4": {"groups": ["hr", "board"]},
    "5": {"tenant": "Größe"},
}


class DirectRetrieval:
    """The retriever's own code, on a real release, without the network between."""

    def __init__(self, follower):
        self._follower = follower

    async def search(self, item):
        # As it would arrive over the socket.
        (outcome,) = answer_batch(self._follower, [SearchItem.model_validate_json(json.dumps(item.model_dump()))])
        return SearchOutcome.model_validate_json(outcome.model_dump_json())

    async def status(self):
        return RetrieverStatus(ready=True)


@pytest.fixture
def client(release, tmp_path):
    manifest = release([f"text {number}" for number in _METADATA], [*_METADATA.values()])
    registry = ReleaseRegistry(tmp_path / "releases")
    registry.promote(manifest.release_id, shards=tmp_path / "shards")
    store = QdrantEdgeStore(tmp_path / "shards", SPEC, IndexSettings())
    follower = ReleaseFollower(registry, lambda found: Opened(store.open(found), AxisEmbedder()))
    assert follower.refresh()

    def make(**settings):
        app = create_app()
        app.state.backends = Backends(
            DirectRetrieval(follower),
            ScriptedGeneration([]),
            ServingSettings(**settings),
            GeneratorSettings(),
            Drain(1),
        )
        return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway")

    yield make
    follower.stop()


async def _found(client, headers=(), **body):
    response = await client.post("/v1/search", json={"query": "text", **body}, headers=headers)
    assert response.status_code == 200, response.text
    return {hit["doc_id"] for hit in response.json()["hits"]}


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, "0"),
        ({"X-Tenant": ""}, "0"),
        ({"X-Tenant": "nobody"}, "0"),
        ({"X-Tenant": "acme"}, "01"),
        ({"x-tenant": " acme "}, "01"),
        ({"X-Tenant": "ACME"}, "0"),
        ({"X-Tenant": "acme,globex"}, "0"),
        ({"X-Tenant": "acme", "X-Groups": "staff, hr"}, "0134"),
        ({"X-Tenant": "globex", "X-Groups": "hr"}, "024"),
        ({"X-Groups": ",board,"}, "04"),
        ({"X-Tenant": "Größe".encode()}, "05"),
    ],
)
async def test_the_named_headers_decide_what_is_found(client, headers, expected):
    assert await _found(client(**_HEADERS), headers) == set(expected)


async def test_headers_that_no_setting_names_mean_nothing(client):
    assert await _found(client(), {"X-Tenant": "acme", "X-Groups": "hr"}) == {"0"}
    only_groups = client(groups_header="X-Groups")
    assert await _found(only_groups, {"X-Tenant": "acme", "X-Groups": "hr"}) == {"0", "4"}


@pytest.mark.parametrize(
    "where",
    [
        {"metadata.tenant": "globex"},
        {"metadata.tenant": {"exists": True}},
        {"or": [{"metadata.tenant": "globex"}, {"metadata.groups": ["hr"]}]},
        {"not": {"metadata.tenant": "acme"}},
    ],
)
async def test_a_filter_on_the_tenant_can_only_narrow(client, where):
    assert await _found(client(**_HEADERS), {"X-Tenant": "acme"}, filter=where) <= {"0", "1"}


async def test_nothing_in_the_body_names_the_caller(client):
    body = {"tenant": "acme", "groups": ["hr"], "caller": {"sees_everything": True}, "sees_everything": True}
    assert await _found(client(**_HEADERS), **body) == {"0"}


@pytest.mark.parametrize(
    "headers",
    [
        [("X-Tenant", "acme"), ("X-Tenant", "globex")],
        [("X-Groups", "a"), ("X-Groups", "b")],
        [("X-Tenant", b"\xff\xfe")],
        [("X-Tenant", "x" * 201)],
        [("X-Tenant", b"a\tb")],
        [("X-Groups", "a," + "x" * 201)],
        [("X-Groups", ",".join(f"g{n}" for n in range(201)))],
    ],
)
@pytest.mark.parametrize("path", ["/v1/search", "/v1/chat/completions"])
async def test_a_caller_that_can_not_be_read_is_refused(client, headers, path):
    body = {"query": "text", "model": "forebay", "messages": [{"role": "user", "content": "text"}]}
    response = await client(**_HEADERS).post(path, json=body, headers=headers)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, "invalid_caller", headers[-1][0])
    assert error["message"].endswith(".")


async def test_an_answer_is_made_of_what_its_caller_may_find(client):
    question = {"model": "forebay", "messages": [{"role": "user", "content": "what does text 3 say of text 3"}]}
    cited = {}
    for name, headers in {"public": {}, "acme": {"X-Tenant": "acme", "X-Groups": "hr"}}.items():
        response = await client(**_HEADERS).post("/v1/chat/completions", json=question, headers=headers)
        cited[name] = {citation["doc_id"] for citation in response.json()["choices"][0]["message"]["citations"]}
    assert cited["acme"] == {"3"}
    assert cited["public"] <= {"0"}


@pytest.mark.parametrize(
    ("body", "param", "says"),
    [
        ({"filter": {"colour": "red"}}, "filter", "colour.*doc_id, source"),
        ({"filter": {"source": 5}}, "filter", "source.*string"),
        ({"filter": {"metadata.year": {"gte": "2000"}}}, "filter", "metadata.year.*number"),
        ({"filter": {"and": []}}, "filter", "at least one"),
        ({"filter": {"source": ["x"] * 1001}}, "filter", "1000"),
        ({"filter": "source"}, "filter", "filter"),
        ({"query": "x" * 100_000}, "query", "4096"),
        ({"top_k": 0}, "top_k", "greater than or equal to 1"),
        ({"top_k": -1}, "top_k", "greater than or equal to 1"),
        ({"top_k": 1_000_000}, "top_k", "100"),
        ({"top_k": 10**30}, "top_k", "100"),
        ({"top_k": 1.5}, "top_k", "integer"),
    ],
)
async def test_bad_input_to_a_search_is_a_400_that_says_what_to_do(client, body, param, says):
    response = await client(**_HEADERS).post("/v1/search", json={"query": "text", **body})
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, param)
    assert len(error["message"]) < 500
    assert re.search(says, error["message"]), error["message"]
