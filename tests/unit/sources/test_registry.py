import pickle
import subprocess
import sys

import pytest

from forebay.errors import ConfigurationError
from forebay.sources.folder import FolderSource
from forebay.sources.git import GitSource
from forebay.sources.names import is_hidden, printable, refuse_credentials
from forebay.sources.object_store import ObjectStoreSource
from forebay.sources.registry import CONNECTORS, open_source
from forebay.sources.sitemap import SitemapSource

EXAMPLES = {
    "/srv/documents": FolderSource,
    "file:///srv/documents": FolderSource,
    "s3://bucket/folder": ObjectStoreSource,
    "s3a://bucket/folder": ObjectStoreSource,
    "gs://bucket/folder": ObjectStoreSource,
    "gcs://bucket/folder": ObjectStoreSource,
    "abfs://box@account.dfs.core.windows.net/folder": ObjectStoreSource,
    "abfss://box@account.dfs.core.windows.net/folder": ObjectStoreSource,
    "az://box/folder": ObjectStoreSource,
    "git+https://host/repo.git?path=docs#main": GitSource,
    "git+ssh://git@host/repo.git": GitSource,
    "git+file:///srv/repo": GitSource,
    "git+http://localhost/repo.git": GitSource,
    "sitemap+https://host/sitemap.xml": SitemapSource,
    "sitemap+http://host/sitemap.xml": SitemapSource,
}


@pytest.mark.parametrize(("name", "connector"), EXAMPLES.items())
def test_a_source_is_opened_by_its_scheme_and_travels_to_tasks(name, connector):
    source = open_source(name)
    assert type(source) is connector
    assert source.name == name.removeprefix("file://")
    travelled = pickle.loads(pickle.dumps(source))
    assert type(travelled) is connector
    assert travelled.name == source.name


def test_every_connector_has_an_example():
    schemes = {name.partition("://")[0] if "://" in name else "" for name in EXAMPLES}
    assert schemes | {"kafka"} == set(CONNECTORS)


def test_an_unknown_scheme_is_a_named_error():
    with pytest.raises(ConfigurationError, match=r"no connector reads .*ftp://.*s3://"):
        open_source("ftp://host/folder")


@pytest.mark.parametrize("scheme", ["ftp", "s3", "git+https", "git+ssh", "sitemap+https", "kafka", "abfs"])
def test_no_name_may_hold_a_password_and_none_is_repeated(scheme):
    with pytest.raises(ConfigurationError) as caught:
        open_source(f"{scheme}://user:secret@host/folder")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "/srv/a:b@c",
        "file:///srv/a:b@c",
        "kafka://one:9092,two:9092/topic",
        "sitemap+https://[2001:db8::1]:8443/sitemap.xml",
        "s3://bucket/a:b@c",
    ],
)
def test_other_colons_are_no_credentials(name):
    refuse_credentials(name)


def test_opening_a_source_loads_no_connector_but_its_own():
    code = (
        "import sys; from forebay.sources.registry import open_source; open_source('s3://bucket');"
        "print([name for name in ('fsspec', 's3fs', 'dulwich', 'lxml', 'httpx', 'confluent_kafka', 'pyarrow.parquet')"
        " if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_names_are_hidden_by_a_dot_before_any_part():
    assert [is_hidden(path) for path in ("a/b.txt", ".a", "a/.b/c", "a/b..c")] == [False, True, True, False]


def test_names_are_written_so_that_they_can_be_shown():
    assert printable("a\nb\x1b[31m\u202eé".encode() + b"\xff") == "a\\nb\\x1b[31m\\u202eé\\xff"
