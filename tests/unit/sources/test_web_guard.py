import contextlib
import gzip
import http.server
import socket
import ssl
import threading
import time
import zlib

import httpcore
import pytest

from forebay.documents import RejectionReason
from forebay.settings import WebSettings
from forebay.sources import web_guard
from forebay.sources.contract import UnreadableError
from forebay.sources.web_guard import WebGuard
from forebay.sources.web_network import is_public
from tests.certificates import write_certificate

LOCAL = WebSettings(allow_private_hosts=frozenset({"127.0.0.1"}), timeout_s=5)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.server.asked.append((self.path, dict(self.headers)))
        with contextlib.suppress(ConnectionError):
            self.server.routes[self.path](self)

    def send(self, status, data=b"", **headers):
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def server():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.routes, server.asked = {}, []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def fetch(server, path, settings=LOCAL, max_bytes=1000, host="127.0.0.1", **options):
    guard = WebGuard(settings, frozenset({server.server_port}))
    return guard.fetch(f"http://{host}:{server.server_port}{path}", max_bytes, **options)


def refusal(*args, **options):
    with pytest.raises(UnreadableError) as caught:
        fetch(*args, **options)
    return caught.value.reason, str(caught.value)


def test_a_page_of_an_allowed_host_is_fetched(server):
    server.routes["/a"] = lambda page: page.send(200, b"alpha", Content_Type="text/plain")
    server.routes["/none"] = lambda page: page.send(404, b"not here")
    page = fetch(server, "/a")
    assert (page.status, page.content_type, page.data) == (200, "text/plain", b"alpha")
    assert page.url == f"http://127.0.0.1:{server.server_port}/a"
    assert server.asked[0][1]["User-Agent"] == "Forebay/0.1"
    assert server.asked[0][1]["Host"] == f"127.0.0.1:{server.server_port}"
    assert (fetch(server, "/none").status, fetch(server, "/none").data) == (404, b"")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f.1", "2130706433", "[::ffff:127.0.0.1]", "0.0.0.0"])
def test_a_private_host_is_refused_however_it_is_written(server, host):
    reason, detail = refusal(server, "/a", settings=WebSettings(), host=host)
    assert reason == RejectionReason.FORBIDDEN_ADDRESS
    assert "private" in detail
    assert server.asked == []


@pytest.mark.parametrize(
    "target", ["http://169.254.169.254/latest/meta-data/", "http://localhost/", "http://[::1]/", "http://0.0.0.0/"]
)
def test_a_redirect_to_a_private_host_is_refused(server, target):
    server.routes["/a"] = lambda page: page.send(302, Location=target)
    assert refusal(server, "/a")[0] == RejectionReason.FORBIDDEN_ADDRESS


def test_not_even_an_allowed_host_may_be_link_local(server):
    settings = WebSettings(allow_private_hosts=frozenset({"169.254.169.254"}))
    assert refusal(server, "/", settings=settings, host="169.254.169.254")[0] == RejectionReason.FORBIDDEN_ADDRESS


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("file:///etc/passwd", "form"),
        ("ftp://127.0.0.1/", "form"),
        ("http://user:secret@127.0.0.1/", "form"),
        ("http://127.0.0.1:22/", "port 22"),
        ("http://127.0.0.1:6379/", "port 6379"),
    ],
)
def test_a_redirect_to_something_that_is_no_web_site_is_refused(server, target, problem):
    server.routes["/a"] = lambda page: page.send(302, Location=target)
    reason, detail = refusal(server, "/a")
    assert reason == RejectionReason.FORBIDDEN_ADDRESS
    assert problem in detail
    assert "secret" not in detail


def test_redirects_are_followed_a_few_times(server):
    server.routes["/end"] = lambda page: page.send(200, b"end")
    server.routes["/0"] = lambda page: page.send(301, Location="/end")
    for number in range(1, 6):
        server.routes[f"/{number}"] = lambda page, to=number - 1: page.send(307, Location=str(to))
    assert fetch(server, "/4").data == b"end"
    reason, detail = refusal(server, "/5")
    assert reason == RejectionReason.UNREADABLE
    assert "more than 5 times" in detail
    server.routes["/bad"] = lambda page: page.send(302, Location="http://host:port/")
    assert "malformed" in refusal(server, "/bad")[1]


@pytest.fixture
def names(monkeypatch):
    """A resolver of our own: names and the answers that it gives, one after the other."""
    answers, asked = {}, []

    def getaddrinfo(host, port, *args, **kwargs):
        if host in answers:
            asked.append(host)
            host = answers[host].pop(0) if len(answers[host]) > 1 else answers[host][0]
        return [
            entry
            for address in ([host] if isinstance(host, str) else host)
            for entry in real(address, port, *args, **kwargs)
        ]

    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return answers, asked


def test_a_redirect_must_not_leave_the_host_that_was_asked_for(server, names):
    names[0].update({"one.test": ["127.0.0.1"], "two.test": ["127.0.0.1"]})
    settings = WebSettings(allow_private_hosts=frozenset({"one.test", "two.test"}), timeout_s=5)
    server.routes["/end"] = lambda page: page.send(200, b"end")
    server.routes["/a"] = lambda page: page.send(302, Location=f"http://two.test:{server.server_port}/end")
    assert fetch(server, "/a", settings, host="one.test").data == b"end"
    reason, detail = refusal(server, "/a", settings, host="one.test", only_host="one.test")
    assert reason == RejectionReason.FORBIDDEN_ADDRESS
    assert "two.test" in detail


def test_a_host_with_one_private_address_among_public_ones_is_refused(server, names):
    names[0]["mixed.test"] = [["93.184.215.14", "10.0.0.1"]]
    reason, detail = refusal(server, "/", host="mixed.test")
    assert reason == RejectionReason.FORBIDDEN_ADDRESS
    assert "mixed.test" in detail


def test_what_is_connected_to_is_the_address_that_was_checked(server, names, monkeypatch):
    # The second answer is what a rebinding attack would have us connect to.
    names[0]["rebinding.test"] = ["93.184.215.14", "127.0.0.1"]
    connected = []

    def connect_tcp(self, host, *args, **kwargs):
        connected.append(host)
        raise httpcore.ConnectError("refused")

    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", connect_tcp)
    assert refusal(server, "/", host="rebinding.test")[0] == RejectionReason.UNREADABLE
    assert connected == ["93.184.215.14"]
    assert names[1] == ["rebinding.test"]


def test_a_public_page_leads_into_no_private_network_though_a_host_there_is_allowed(server, names, monkeypatch):
    names[0].update({"public.test": ["93.184.215.14"], "intranet.test": ["127.0.0.1"]})
    settings = WebSettings(allow_private_hosts=frozenset({"intranet.test"}), timeout_s=5)
    server.routes["/a"] = lambda page: page.send(302, Location=f"http://intranet.test:{server.server_port}/b")
    server.routes["/b"] = lambda page: page.send(200, b"internal")
    real = httpcore.SyncBackend.connect_tcp

    def connect_tcp(self, host, *args, **kwargs):
        return real(self, "127.0.0.1", *args, **kwargs)

    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", connect_tcp)
    assert fetch(server, "/b", settings, host="intranet.test").data == b"internal"
    reason, detail = refusal(server, "/a", settings, host="public.test")
    assert reason == RejectionReason.FORBIDDEN_ADDRESS
    assert "intranet.test" in detail


def test_proxies_of_the_environment_are_not_used(server, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    server.routes["/a"] = lambda page: page.send(200, b"direct")
    assert fetch(server, "/a").data == b"direct"


def test_a_body_is_read_up_to_its_limit(server):
    server.routes["/a"] = lambda page: page.send(200, b"x" * 1000)
    assert len(fetch(server, "/a", max_bytes=1000).data) == 1000
    assert refusal(server, "/a", max_bytes=999)[0] == RejectionReason.TOO_LARGE


def test_compressed_bodies_are_inflated_up_to_the_limit(server):
    bomb = gzip.compress(bytes(50 * 2**20))
    server.routes["/good"] = lambda page: page.send(200, gzip.compress(b"alpha"), Content_Encoding="gzip")
    server.routes["/bomb"] = lambda page: page.send(200, bomb, Content_Encoding="gzip")
    server.routes["/cut"] = lambda page: page.send(200, gzip.compress(b"alpha")[:-9], Content_Encoding="gzip")
    server.routes["/broken"] = lambda page: page.send(200, b"not gzip", Content_Encoding="gzip")
    server.routes["/twice"] = lambda page: page.send(200, gzip.compress(bomb), Content_Encoding="gzip, gzip")
    server.routes["/other"] = lambda page: page.send(200, zlib.compress(b"x"), Content_Encoding="br")
    assert fetch(server, "/good").data == b"alpha"
    assert refusal(server, "/bomb", max_bytes=2**20)[0] == RejectionReason.TOO_LARGE
    for path in ("/cut", "/broken", "/twice", "/other"):
        assert refusal(server, path, max_bytes=2**20)[0] == RejectionReason.UNREADABLE


def _drip(page):
    page.wfile.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    for _ in range(200):
        page.wfile.write(b"x")
        time.sleep(0.05)


def _drip_headers(page):
    page.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(200):
        page.wfile.write(f"X-{number}: x\r\n".encode())
        time.sleep(0.05)


def _hang(page):
    time.sleep(10)


@pytest.mark.parametrize("behaviour", [_drip, _drip_headers, _hang])
def test_an_endless_answer_ends_with_the_whole_time(server, behaviour):
    server.routes["/slow"] = behaviour
    settings = WebSettings(allow_private_hosts=frozenset({"127.0.0.1"}), timeout_s=0.4)
    begin_s = time.monotonic()
    reason, detail = refusal(server, "/slow", settings)
    assert time.monotonic() - begin_s < 2
    assert reason == RejectionReason.UNREADABLE
    assert "longer than 0.4 s" in detail


def _cut(page):
    page.close_connection = True
    page.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx")


def _noise(page):
    page.close_connection = True
    page.wfile.write(b"\x00\x01 no http\r\n\r\n")


@pytest.mark.parametrize("behaviour", [_cut, _noise])
def test_a_server_that_does_not_speak_http_is_unreadable(server, behaviour):
    server.routes["/a"] = behaviour
    assert refusal(server, "/a")[0] == RejectionReason.UNREADABLE


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://no-such-host.invalid/", "not known"),
        (f"http://{'a' * 70}.test/", "not known"),
        ("http://127.0.0.1:9/", "can't be reached"),
    ],
)
def test_a_server_that_is_not_there_is_unreadable(url, problem):
    with pytest.raises(UnreadableError, match=problem) as caught:
        WebGuard(LOCAL, frozenset({9})).fetch(url, 10)
    assert caught.value.reason == RejectionReason.UNREADABLE


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("93.184.215.14", True),
        ("2606:4700::1111", True),
        ("64:ff9b::5db8:d70e", True),
        ("::ffff:93.184.215.14", True),
        ("10.0.0.1", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("100.64.0.1", False),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("192.0.2.1", False),
        ("::", False),
        ("::1", False),
        ("::127.0.0.1", False),
        ("fe80::1", False),
        ("fe80::1%lo", False),
        ("fc00::1", False),
        ("fd00:ec2::254", False),
        ("fec0::1", False),
        ("ff02::1", False),
        ("2001:db8::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:169.254.169.254", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("64:ff9b:1::1", False),
        ("2002:7f00:1::", False),
    ],
)
def test_addresses_that_everybody_reaches(address, expected):
    assert is_public(address) is expected


def test_tls_checks_the_name_though_the_address_was_connected_to(server, names, monkeypatch, tmp_path):
    names[0].update({"right.test": ["127.0.0.1"], "wrong.test": ["127.0.0.1"]})
    certificate, key = write_certificate(tmp_path, "right.test")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    told = []
    context.sni_callback = lambda connection, name, context: told.append(name)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.routes["/a"] = lambda page: page.send(200, b"alpha")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setattr(web_guard, "_tls", web_guard._tls.__wrapped__)
    guard = WebGuard(
        WebSettings(allow_private_hosts=frozenset({"right.test", "wrong.test"}), timeout_s=5),
        frozenset({server.server_port}),
    )
    assert guard.fetch(f"https://right.test:{server.server_port}/a", 100).data == b"alpha"
    assert server.asked[0][1]["Host"] == f"right.test:{server.server_port}"
    with pytest.raises(UnreadableError, match="certificate"):
        guard.fetch(f"https://wrong.test:{server.server_port}/a", 100)
    assert told == ["right.test", "wrong.test"]


def test_the_allowed_hosts_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("FOREBAY_WEB_ALLOW_PRIVATE_HOSTS", "Wiki.corp, 127.0.0.1,")
    assert WebSettings().allow_private_hosts == {"wiki.corp", "127.0.0.1"}
    monkeypatch.delenv("FOREBAY_WEB_ALLOW_PRIVATE_HOSTS")
    assert WebSettings().allow_private_hosts == frozenset()
