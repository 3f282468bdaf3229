"""A cluster that encrypts: what the store trusts, and what it says of what it doesn't."""

import pytest

from forebay.errors import ConfigurationError, IndexBuildError, ReleaseError
from forebay.settings import WeaviateSettings
from forebay.store.weaviate_connection import connect
from forebay.store.weaviate_store import WeaviateStore
from tests.certificates import write_certificate
from tests.releases import cluster_release
from tests.weaviate_cluster import EMBEDDER, ROWS, load, request
from tests.weaviate_wire import Wire, serve


@pytest.fixture(scope="module")
def certify(tmp_path_factory):
    """Makes a certificate that is its own authority; gives its file and the key's."""
    return lambda *names: write_certificate(tmp_path_factory.mktemp("certificate"), *names)


@pytest.fixture(scope="module")
def here(certify):
    return certify("127.0.0.1")


@pytest.fixture(scope="module")
def another(certify):
    return certify("127.0.0.1")


@pytest.fixture
def encrypted():
    """Serves a double with TLS, as often as it is called."""
    served = []

    def start(rest_tls, grpc_tls):
        served.append(Wire())
        serve(served[-1], rest_tls, grpc_tls)
        return served[-1]

    yield start
    for wire in served:
        wire.stop()


@pytest.fixture
def trust(monkeypatch):
    return lambda files: monkeypatch.setenv("SSL_CERT_FILE", str(files[0]))


def _found(wire, **settings):
    """Load a release and search it."""
    chosen = wire.settings(**settings)
    manifest = cluster_release(EMBEDDER, 20, "c")
    with connect(chosen) as client:
        store = WeaviateStore(client, chosen)
        load(store, ROWS[:20], release_id=manifest.release_id)
        release = store.open(manifest)
        try:
            return release.search([request("number7")])[0][0].doc_id
        finally:
            release.close()


def test_a_cluster_of_an_own_authority_is_loaded_and_searched(encrypted, trust, here):
    trust(here)
    assert _found(encrypted(here, here)) == "d7"


def test_https_encrypts_grpc_unless_it_is_said_otherwise(encrypted, trust, here):
    trust(here)
    assert _found(encrypted(here, None), grpc_tls=False) == "d7"
    assert _found(encrypted(None, here), grpc_tls=True) == "d7"
    with pytest.raises(IndexBuildError, match="doesn't confirm"):
        _found(encrypted(here, None), load_attempts=1)


def test_an_own_authority_is_trusted_where_the_cluster_is_asked_for_its_identity_provider(
    encrypted, trust, here, tmp_path
):
    trust(here)
    wire = encrypted(here, here)
    wire.oidc_secret = "s"
    (tmp_path / "secret").write_text("s")
    assert _found(wire, oidc_client_secret_file=tmp_path / "secret") == "d7"


@pytest.mark.parametrize("oidc", [False, True])
def test_a_certificate_of_an_unknown_authority_is_named(encrypted, trust, here, another, tmp_path, oidc):
    trust(another)
    (tmp_path / "secret").write_text("s")
    secret = {"oidc_client_secret_file": tmp_path / "secret"} if oidc else {}
    wire = encrypted(here, here)
    with pytest.raises(ReleaseError, match=r"certificate of .* isn't trusted \(self-signed .*SSL_CERT_FILE"):
        connect(wire.settings(**secret))
    assert wire.rest == []


def test_without_a_file_only_public_authorities_are_trusted(encrypted, monkeypatch, here):
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with pytest.raises(ReleaseError, match="isn't trusted"):
        connect(encrypted(here, here).settings())


def test_a_certificate_for_another_host_is_named(encrypted, trust, certify):
    wrong = certify("weaviate.example")
    trust(wrong)
    with pytest.raises(ReleaseError, match=r"isn't trusted \(IP address mismatch"):
        connect(encrypted(wrong, wrong).settings())


def test_the_certificate_of_grpc_is_looked_at_too(encrypted, trust, here, another, caplog):
    trust(here)
    wire = encrypted(here, another)
    with pytest.raises(IndexBuildError, match="doesn't confirm"):
        _found(wire, load_attempts=1)
    assert "CERTIFICATE_VERIFY_FAILED" in caplog.text
    assert wire.received == []


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_file_without_certificates_is_named(wire, trust, tmp_path, content):
    path = tmp_path / "authorities.pem"
    if content:
        path.write_text(content)
    trust((path,))
    with pytest.raises(ConfigurationError, match=r"SSL_CERT_FILE names '.*authorities.pem'"):
        connect(wire.settings(url="https://127.0.0.1:1"))
    # Without TLS nobody asks for it.
    connect(wire.settings()).close()


def test_an_empty_variable_names_no_file(monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", "")
    assert WeaviateSettings().ca_file is None
