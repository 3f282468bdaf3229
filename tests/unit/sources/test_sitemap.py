import gzip
import http.server
import pickle
import threading
from types import SimpleNamespace

import pytest

from forebay.documents import RejectionReason
from forebay.errors import ConfigurationError
from forebay.settings import WebSettings
from forebay.sources.contract import UnreadableError
from forebay.sources.sitemap import SitemapSource

LOCAL = WebSettings(allow_private_hosts=frozenset({"127.0.0.1"}), timeout_s=5, delay_s=0)


class _Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        self.server.asked.append(self.path)
        status, kind, data = self.server.pages.get(self.path, (404, "text/html", b"none"))
        self.send_response(status)
        self.send_header("Location" if 300 <= status < 400 else "Content-Type", kind)
        self.end_headers()
        self.wfile.write(data.replace(b"SITE", self.server.address.encode()))


class Site:
    """A web site on this machine."""

    def __init__(self, server):
        self._server = server
        server.pages, server.asked = {}, []
        server.address = self.address = f"http://127.0.0.1:{server.server_port}"

    @property
    def asked(self):
        return self._server.asked

    def put(self, path, data, kind="text/html", status=200):
        self._server.pages[path] = (status, kind, data if isinstance(data, bytes) else data.encode())

    def put_sitemap(self, *entries, path="/sitemap.xml"):
        self.put(path, sitemap(*entries), "application/xml")

    def source(self, settings=LOCAL, path="/sitemap.xml"):
        return SitemapSource(f"sitemap+{self.address}{path}", settings)

    def units(self, **options):
        return {unit.uri.removeprefix(self.address): unit for unit in self.source(**options).changes().units}

    def read(self, path, max_bytes=10_000, settings=LOCAL):
        return list(self.source(settings).read(self.units()[path], max_bytes))


def sitemap(*entries, top="urlset", item="url"):
    items = "".join(
        f"<{item}><loc>{loc if ':' in loc else 'SITE' + loc}</loc>"
        + (f"<lastmod>{lastmod}</lastmod>" if lastmod else "")
        + f"</{item}>"
        for loc, lastmod in entries
    )
    return f'<?xml version="1.0"?><{top} xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{items}</{top}>'


def index(*paths):
    return sitemap(*((path, None) for path in paths), top="sitemapindex", item="sitemap")


@pytest.fixture
def site():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield Site(server)
    server.shutdown()
    thread.join()
    server.server_close()


def test_pages_are_listed_and_read(site):
    site.put_sitemap(("/a", "2026-01-01"), ("/b.html#part", "2026-01-02"))
    site.put("/a", "<p>alpha</p>", "text/html; charset=utf-8")
    units = site.units()
    assert {path: (unit.format, unit.version) for path, unit in units.items()} == {
        "/a": ("html", "2026-01-01"),
        "/b.html": ("html", "2026-01-02"),
    }
    source = pickle.loads(pickle.dumps(site.source()))
    assert source.name == f"sitemap+{site.address}/sitemap.xml"
    (record,) = source.read(units["/a"], 100)
    assert (record.uri, record.format, record.data) == (f"{site.address}/a", "html", b"<p>alpha</p>")
    assert record.metadata == {"url": f"{site.address}/a"}


def test_the_cursor_follows_lastmod(site):
    site.put_sitemap(("/a", "2026-01-01"))
    before = site.source().changes()
    assert site.source().changes() == before
    assert before.is_snapshot
    site.put_sitemap(("/a", "2026-01-02"))
    assert site.source().changes().cursor != before.cursor


def test_pages_without_lastmod_are_read_at_every_run(site):
    site.put_sitemap(("/a", None), ("/b", "2026-01-01"))
    first, second = site.source().changes(), site.source().changes()
    assert first.cursor == second.cursor
    assert first.units[0].version != second.units[0].version
    assert first.units[1] == second.units[1]


@pytest.mark.parametrize(
    ("path", "kind", "expected"),
    [
        ("/x", "text/html", "html"),
        ("/x", "application/xhtml+xml; charset=utf-8", "html"),
        ("/x", "text/plain", "text"),
        ("/x", "text/markdown", "markdown"),
        ("/x.md", "text/plain; charset=utf-8", "markdown"),
        ("/x.html", "application/octet-stream", "html"),
        ("/x.php", "text/html", "html"),
    ],
)
def test_the_format_is_what_the_server_says_and_else_what_the_address_ends_in(site, path, kind, expected):
    site.put_sitemap((path, "1"))
    site.put(path, "text", kind)
    assert [record.format for record in site.read(path)] == [expected]


def test_pages_of_other_kinds_are_rejected(site):
    site.put_sitemap(("/a.png", "1"), ("/b.bin", "1"))
    site.put("/a.png", b"x", "image/png")
    site.put("/b.bin", b"x", "application/octet-stream")
    for path, kind in (("/a.png", "image/png"), ("/b.bin", "application/octet-stream")):
        (rejected,) = site.read(path)
        assert rejected.reason == RejectionReason.UNSUPPORTED_FORMAT
        assert kind in rejected.detail


def test_lines_of_jsonl_are_documents(site):
    site.put_sitemap(("/rows.jsonl", "1"))
    site.put("/rows.jsonl", '{"text": "one"}\n{"text": "two"}\n', "application/octet-stream")
    assert [(record.data, record.format) for record in site.read("/rows.jsonl")] == [
        (b'{"text": "one"}', "row"),
        (b'{"text": "two"}', "row"),
    ]


def test_the_encoding_that_the_server_names_is_used(site):
    site.put_sitemap(("/a", "1"), ("/b", "1"), ("/c", "1"))
    site.put("/a", "жук".encode("koi8-r"), "text/html; charset=KOI8-R")
    site.put("/b", "жук".encode(), "text/html; charset=iso-8859-1")
    site.put("/c", b"\xe9", "text/html; charset=unicode_escape")
    assert [site.read(path)[0].data for path in ("/a", "/b", "/c")] == ["жук".encode(), "жук".encode(), b"\xe9"]


def test_what_the_server_does_not_give_is_unreadable(site):
    site.put_sitemap(("/gone", "1"), ("/failing", "1"), ("/large", "1"), ("/away", "1"))
    site.put("/failing", "x", status=500)
    site.put("/large", "x" * 101)
    site.put("/away", "", "http://169.254.169.254/latest", status=302)
    for path, reason, detail in (
        ("/gone", RejectionReason.GONE, "404"),
        ("/failing", RejectionReason.UNREADABLE, "500"),
        ("/large", RejectionReason.TOO_LARGE, "100 bytes"),
        ("/away", RejectionReason.FORBIDDEN_ADDRESS, "169.254.169.254"),
    ):
        with pytest.raises(UnreadableError, match=detail) as caught:
            site.read(path, max_bytes=100)
        assert caught.value.reason == reason


def test_a_page_in_a_private_network_is_refused_when_read(site):
    site.put_sitemap(("/a", "1"))
    unit = site.units()["/a"]
    with pytest.raises(UnreadableError) as caught:
        list(site.source(WebSettings(delay_s=0)).read(unit, 100))
    assert caught.value.reason == RejectionReason.FORBIDDEN_ADDRESS


def test_a_sitemap_in_a_private_network_is_a_named_error(site):
    with pytest.raises(ConfigurationError, match="FOREBAY_WEB_ALLOW_PRIVATE_HOSTS"):
        site.source(WebSettings()).changes()
    assert site.asked == []


def test_sitemaps_name_sitemaps_and_may_be_compressed(site):
    site.put("/sitemap.xml", index("/one.xml", "/two.xml.gz", "/sitemap.xml"))
    site.put_sitemap(("/a", "1"), path="/one.xml")
    inner = sitemap(("/b", "1"), ("/a", "2")).replace("SITE", site.address)
    site.put("/two.xml.gz", gzip.compress(inner.encode()), "application/gzip")
    assert {path: unit.version for path, unit in site.units().items()} == {"/a": "1", "/b": "1"}


def test_pages_of_other_hosts_and_what_is_no_page_is_ignored(site):
    site.put_sitemap(
        ("/a", "1"),
        ("http://example.org/b", "1"),
        ("https://127.0.0.1.example.org/c", "1"),
        ("file:///etc/passwd", "1"),
        ("javascript:alert(1)", "1"),
        ("http://x:port/", "1"),
    )
    assert list(site.units()) == ["/a"]


def test_a_sitemap_that_names_other_hosts_only_is_a_named_error(site):
    site.put_sitemap(("https://www.example.org/b", "1"))
    with pytest.raises(ConfigurationError, match=r"www\.example\.org"):
        site.units()
    site.put("/sitemap.xml", index("https://www.example.org/sitemap.xml"))
    with pytest.raises(ConfigurationError, match=r"www\.example\.org"):
        site.units()


def test_an_empty_sitemap_has_no_pages(site):
    site.put_sitemap()
    assert site.units() == {}


def test_robots_txt_is_obeyed(site):
    site.put_sitemap(("/a", "1"), ("/private/b", "1"), ("/elsewhere/c", "1"))
    site.put(
        "/robots.txt", "User-agent: other\nDisallow: /\n\nUser-agent: forebay\nDisallow: /private/\n", "text/plain"
    )
    assert list(site.units()) == ["/a", "/elsewhere/c"]
    site.put("/robots.txt", "User-agent: *\nDisallow: /\n", "text/plain")
    assert site.units() == {}
    site.put("/robots.txt", "", status=403)
    assert len(site.units()) == 3


def test_without_robots_txt_for_a_failing_server_nothing_is_listed(site):
    site.put_sitemap(("/a", "1"))
    site.put("/robots.txt", "", status=503)
    with pytest.raises(ConfigurationError, match=r"robots.txt can't be read .* 503"):
        site.units()


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ("<urlset>", "not XML"),
        ("", "not XML"),
        ("<html><body>log in</body></html>", "no sitemap"),
        (b"\x1f\x8b broken", "broken gzip"),
        (gzip.compress(b"<urlset/>", mtime=0)[:-9], "cut off"),
    ],
)
def test_what_is_no_sitemap_is_a_named_error(site, data, problem):
    site.put("/sitemap.xml", data)
    with pytest.raises(ConfigurationError, match=problem):
        site.units()


def test_a_part_that_is_missing_is_an_error_and_no_shorter_list(site):
    site.put("/sitemap.xml", index("/one.xml", "/missing.xml"))
    site.put_sitemap(("/a", "1"), path="/one.xml")
    with pytest.raises(ConfigurationError, match="404"):
        site.units()


def test_a_sitemap_is_limited_in_pages_depth_files_and_size(site, monkeypatch):
    site.put_sitemap(*((f"/{number}", "1") for number in range(4)))
    with pytest.raises(ConfigurationError, match="more than 3 pages"):
        site.source(LOCAL.model_copy(update={"max_pages": 3})).changes()
    monkeypatch.setattr("forebay.sources.sitemap_pages._MAX_SITEMAP_BYTES", 10_000)
    site.put("/sitemap.xml", gzip.compress(sitemap(*((f"/{number}", "1") for number in range(1000))).encode()))
    with pytest.raises(ConfigurationError, match="larger than"):
        site.units()
    for number in range(9):
        site.put(f"/{number}.xml", index(f"/{number + 1}.xml"))
    with pytest.raises(ConfigurationError, match="levels"):
        site.units(path="/0.xml")
    monkeypatch.setattr("forebay.sources.sitemap_pages._MAX_SITEMAPS", 3)
    site.put("/sitemap.xml", index("/x1.xml", "/x2.xml", "/x3.xml"))
    with pytest.raises(ConfigurationError, match="3 files"):
        site.units()


def test_all_sitemaps_of_a_site_together_are_limited_in_bytes(site, monkeypatch):
    parts = [f"/{number}.xml" for number in range(4)]
    site.put("/sitemap.xml", index(*parts))
    for path in parts:
        site.put_sitemap((f"{path}.html", "1"), ("http://other.org/" + "x" * 1000, "1"), path=path)
    assert len(site.units()) == 4
    monkeypatch.setattr("forebay.sources.sitemap_pages._MAX_LISTING_BYTES", 4000)
    with pytest.raises(ConfigurationError, match=r"larger than 4000 bytes .* give its parts"):
        site.units()


@pytest.mark.parametrize("slow", ["/sitemap.xml", "/robots.txt"])
def test_listing_a_site_takes_limited_time(site, monkeypatch, slow):
    site.put("/sitemap.xml", index("/1.xml"))
    site.put_sitemap(("/a", "1"), ("/b", "1"), path="/1.xml")
    clock = SimpleNamespace(monotonic=lambda: 100 if slow in site.asked else 0)
    monkeypatch.setattr("forebay.sources.sitemap_pages.time", clock)
    assert len(site.units()) == 2
    site.asked.clear()
    monkeypatch.setattr("forebay.sources.sitemap_pages._MAX_LISTING_S", 50)
    with pytest.raises(ConfigurationError, match="longer than 50 s"):
        site.units()
    # What comes behind is not asked for any more.
    assert site.asked[-1] == slow


def test_entities_are_neither_loaded_nor_expanded(site, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    bomb = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    site.put(
        "/sitemap.xml",
        f'<!DOCTYPE urlset [<!ENTITY e0 "bomb">{bomb}<!ENTITY file SYSTEM "file://{secret}">'
        f'<!ENTITY web SYSTEM "{site.address}/entity">]>'
        "<urlset><url><loc>SITE/a-&file;&web;&e9;</loc></url><url><loc>SITE/b</loc></url></urlset>",
    )
    try:
        listed = list(site.units())
    except ConfigurationError:
        listed = []
    assert not any("secret" in path or "bomb" in path for path in listed)
    assert "/entity" not in site.asked


def test_a_redirected_sitemap_may_list_pages_of_where_it_lies(site):
    site.put_sitemap(("/a", "1"), path="/real.xml")
    site.put("/sitemap.xml", "", f"{site.address}/real.xml", status=301)
    assert list(site.units()) == ["/a"]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("sitemap+https://user:secret@host/sitemap.xml", "credentials"),
        ("sitemap+https://secret@host/sitemap.xml", "credentials"),
        ("sitemap+ftp://host/sitemap.xml", "form"),
        ("sitemap+https:///sitemap.xml", "form"),
    ],
)
def test_names_that_must_not_be_are_refused(name, problem):
    with pytest.raises(ConfigurationError, match=problem) as caught:
        SitemapSource(name, WebSettings())
    assert "secret" not in str(caught.value)
