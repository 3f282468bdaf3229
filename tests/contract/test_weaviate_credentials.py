"""Who the Weaviate store says it is, and clusters that can't be reached."""

import time

import pytest

from forebay.errors import ConfigurationError, ReleaseError
from forebay.store.contract import SearchMode
from forebay.store.weaviate_channels import Channels
from forebay.store.weaviate_connection import connect
from tests.weaviate_cluster import ROWS, request


def _secret(folder):
    path = folder / "secret"
    path.write_text("s3cret\n")
    return path


@pytest.fixture
def secret_file(wire, tmp_path):
    wire.oidc_secret = "s3cret"
    return _secret(tmp_path)


def test_the_double_is_never_asked_with_the_credentials_of_a_real_server(wire, monkeypatch):
    monkeypatch.setenv("FOREBAY_WEAVIATE_API_KEY", "of the server that `make test-weaviate` was told of")
    assert wire.settings().api_key is None


def test_client_credentials_become_tokens_that_are_renewed(wire, cluster, secret_file):
    wire.token_s = 1
    opened = cluster(ROWS[:20], oidc_client_secret_file=secret_file, oidc_scopes=("chunks",), channels=1)
    assert wire.tokens[0]["scope"] == "openid chunks"
    assert (wire.tokens[0]["client_id"], wire.tokens[0]["grant_type"]) == ("forebay", "client_credentials")
    sent_as = {headers.get("authorization") for _, path, _, headers in wire.rest if path.startswith("schema")}
    assert {token.partition("token")[0] for token in sent_as} == {"Bearer "}
    first = wire.metadata[-1]["authorization"]
    deadline = time.monotonic() + 10
    while wire.metadata[-1]["authorization"] == first and time.monotonic() < deadline:
        time.sleep(0.1)
        assert opened.search([request("wing", mode=SearchMode.DENSE)])[0]
    assert wire.metadata[-1]["authorization"].startswith("Bearer token")
    assert wire.metadata[-1]["authorization"] != first


def test_wrong_ways_of_saying_who_we_are_are_named(wire, secret_file):
    with pytest.raises(ConfigurationError, match="both an API key"):
        connect(wire.settings(oidc_client_secret_file=secret_file, api_key="key"))
    with pytest.raises(ConfigurationError, match="can't be read"):
        connect(wire.settings(oidc_client_secret_file=secret_file.with_name("none")))
    secret_file.write_text("another")
    with pytest.raises(ReleaseError, match="refuses the connection"):
        connect(wire.settings(oidc_client_secret_file=secret_file))


@pytest.mark.parametrize(
    ("answers", "error", "says"),
    [
        (None, ConfigurationError, "has no OIDC.*unset the secret"),
        ((503, {"href": ""}), ReleaseError, "answers 503"),
        ((200, "<html>Sign in</html>"), ReleaseError, "no OIDC configuration.*proxy"),
    ],
)
def test_with_a_client_secret_nobody_goes_on_as_nobody(wire, secret_file, answers, error, says):
    wire.oidc_secret, wire.oidc_answer = "", answers
    settings = wire.settings(oidc_client_secret_file=secret_file)
    with pytest.raises(error, match=says):
        connect(settings)
    with pytest.raises(error, match=says):
        Channels("ForebayChunks", settings)
    # Nothing else was asked of the cluster.
    assert {path for _, path, _, _ in wire.rest} == {".well-known/openid-configuration"}


def test_a_cluster_that_is_not_there_or_a_wrong_address_is_named(wire, tmp_path):
    away = {"url": "http://127.0.0.1:9"}
    with pytest.raises(ReleaseError, match="doesn't answer; start it"):
        connect(wire.settings().model_copy(update=away))
    with pytest.raises(ReleaseError, match="doesn't answer; start it"):
        connect(wire.settings().model_copy(update={**away, "oidc_client_secret_file": _secret(tmp_path)}))
    with pytest.raises(ConfigurationError, match="http://host:port"):
        connect(wire.settings().model_copy(update={"url": "http://host:99999"}))
    with pytest.raises(ConfigurationError, match="can't be read"):
        connect(wire.settings(api_key_file=tmp_path / "none"))
