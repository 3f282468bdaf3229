"""A double of Google Cloud Storage's JSON API: as much of it as reading needs."""

import http.server
import json
import threading
from contextlib import contextmanager
from urllib.parse import parse_qs, unquote, urlsplit

__all__ = ["google_storage"]


class GoogleStorage:
    """One bucket on this machine."""

    def __init__(self, address):
        self.address = address
        self.asked = []
        self._objects, self._generation = {}, 1_700_000_000_000_000

    def put(self, name, data):
        """Write an object, which then has another generation."""
        self._generation += 1
        self._objects[name] = (str(self._generation), data)

    def remove(self, name):
        """Remove an object."""
        del self._objects[name]

    def answer(self, path, query):
        """Give (status, body): an object's bytes, its description, or a page of the listing."""
        self.asked.append(path)
        place, _, name = path.removeprefix("/download").removeprefix("/storage/v1/b/").partition("/o")
        name = unquote(name.removeprefix("/"))
        if place != "bucket" or (name and name not in self._objects):
            return 404, {"error": {"code": 404, "message": "Not Found"}}
        if not name:
            names = sorted(key for key in self._objects if key.startswith(query.get("prefix", "")))
            start = int(query.get("pageToken", 0))
            page = {"kind": "storage#objects", "items": [self._described(key) for key in names[start : start + 2]]}
            return 200, page | ({"nextPageToken": str(start + 2)} if names[start + 2 :] else {})
        return 200, self._objects[name][1] if query.get("alt") == "media" else self._described(name)

    def _described(self, name):
        # https://cloud.google.com/storage/docs/json_api/v1/objects#resource
        generation, data = self._objects[name]
        return {
            "kind": "storage#object",
            "name": name,
            "bucket": "bucket",
            "generation": generation,
            "size": str(len(data)),
            "updated": "2030-01-01T00:00:00.000Z",
            "timeCreated": "2030-01-01T00:00:00.000Z",
        }


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        parts = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        status, body = self.server.storage.answer(parts.path, query)
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        wanted = self.headers.get("Range", "").removeprefix("bytes=").split("-")
        if len(wanted) == 2 and status == 200:
            first, last = int(wanted[0]), int(wanted[1] or len(data))
            status, data = (206, data[first : last + 1]) if first < len(data) else (416, b"")
        self.send_response(status)
        self.send_header("Content-Type", "application/octet-stream" if body is data else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def google_storage():
    """Run it."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.storage = GoogleStorage(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.storage
    server.shutdown()
    thread.join()
    server.server_close()
