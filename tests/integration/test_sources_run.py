"""A run over sources of several kinds at once, and one whose folder goes away under it."""

import http.server
import io
import os
import shutil
import subprocess
import sys
import threading
import time

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dulwich import porcelain
from moto.server import ThreadedMotoServer

from forebay.documents import content_hash
from forebay.embedding.sentence_transformer import load_embedder
from forebay.settings import PathSettings
from forebay.store.contract import SearchRequest
from forebay.store.qdrant_edge import QdrantEdgeStore
from forebay.tables import chunk_table, document_table, duplicate_table, unit_table
from tests.pipeline import ROOT, Pipeline

pytestmark = pytest.mark.integration

_TIMEOUT_S = 300


@pytest.fixture
def bucket(monkeypatch, tmp_path):
    """A bucket on this machine that this process and the jobs find by the standard variables."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    s3 = fsspec.filesystem("s3", skip_instance_cache=True)
    # Servers of moto in one process share what they hold.
    s3.mkdir("pipeline")
    rows = io.BytesIO()
    texts = ["The spillway carries the flood around the dam.", "A surge tank softens the blow of a closing valve."]
    pq.write_table(pa.table({"id": ["spillway", "surge"], "text": texts}), rows)
    s3.pipe("pipeline/docs/rows.parquet", rows.getvalue())
    s3.pipe("pipeline/docs/more.jsonl", b'{"id": "weir", "text": "A weir raises the level of a river."}\n')
    yield "s3://pipeline/docs"
    server.stop()


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "repository"
    porcelain.init(folder).close()
    (folder / "guide.md").write_text("# Draft tubes\n\nThe draft tube wins back the speed of the water that leaves.\n")
    porcelain.add(folder)
    porcelain.commit(folder, message=b"x", author=b"A <a@b>", committer=b"A <a@b>", sign=False)
    yield f"git+file://{folder}"
    mirror = PathSettings().home / "git" / content_hash(f"file://{folder}")
    shutil.rmtree(mirror, ignore_errors=True)
    mirror.with_suffix(".lock").unlink(missing_ok=True)


class _Site(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        article = "<p>The trash rack keeps branches and ice away from the wicket gates of the plant.</p>" * 4
        pages = {
            "/sitemap.xml": f"<urlset><url><loc>http://{self.headers['Host']}/rack.html</loc></url></urlset>",
            "/rack.html": f"<html><head><title>Racks</title></head><body><article>{article}</article></body></html>",
        }
        self.send_response(200 if self.path in pages else 404)
        self.send_header("Content-Type", "application/xml" if self.path.endswith(".xml") else "text/html")
        self.end_headers()
        self.wfile.write(pages.get(self.path, "none").encode())


@pytest.fixture
def site(monkeypatch):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Site)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    # As an operator would allow a site of the own network.
    monkeypatch.setenv("FOREBAY_WEB_ALLOW_PRIVATE_HOSTS", "127.0.0.1")
    yield f"sitemap+http://127.0.0.1:{server.server_port}/sitemap.xml"
    server.shutdown()
    thread.join()
    server.server_close()


def _start(pipeline, *sources):
    options = [part for source in sources for part in ("--source", str(source))]
    command = [sys.executable, "-m", "orchestration.run", *options]
    environment = {**os.environ, **pipeline.environment}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def _published(pipeline):
    tables = [table(pipeline.paths.tables) for table in (document_table, chunk_table, unit_table, duplicate_table)]
    return [sorted(map(str, table.published().to_table().to_pylist())) for table in tables]


def _logs(pipeline):
    return "".join(path.read_text() for path in sorted((pipeline.data / "logs").glob("*.log")))


def test_sources_of_every_kind_make_one_release_and_one_that_goes_away_changes_nothing(
    bucket, repository, site, tmp_path
):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "penstock.txt").write_text("The penstock leads the water down to the turbines.")
    (folder / "gate.txt").write_text("A wicket gate lets as much water through as the load asks for.")
    pipeline = Pipeline(folder, tmp_path / "data")

    process = _start(pipeline, folder, bucket, repository, site)
    output, _ = process.communicate(timeout=_TIMEOUT_S)
    assert process.returncode == 0, output + _logs(pipeline)
    rows = document_table(pipeline.paths.tables).published().to_table(columns=["source", "doc_id"]).to_pylist()
    page = f"{site.removeprefix('sitemap+').removesuffix('sitemap.xml')}rack.html"
    assert {(row["source"], row["doc_id"]) for row in rows} == {
        (str(folder), "penstock.txt"),
        (str(folder), "gate.txt"),
        (bucket, "spillway"),
        (bucket, "surge"),
        (bucket, "weir"),
        (repository, "guide.md"),
        (site, page),
    }
    found = _search(pipeline, "flood around the dam", "speed of water in a draft tube", "branches and ice")
    assert found == [("spillway", bucket), ("guide.md", repository), (page, site)]

    before, release = _published(pipeline), pipeline.release_id
    (folder / "penstock.txt").write_text("Another text, which nobody will be able to read.")
    output = _run_while_it_goes_away(pipeline, folder, f"{folder}: 1 of 2 units to read")
    assert f"the source '{folder}' went away while it was read" in output
    assert _published(pipeline) == before
    assert pipeline.release_id == release

    (folder / "gate.txt").write_text("This one neither.")
    output = _run_while_it_goes_away(pipeline, folder, f"{folder}: 2 of 2 units to read")
    # One sentence that says what to do, and a report with the rest.
    assert f"the source '{folder}' went away while it was read" in output
    (report,) = [part for part in (pipeline.data / "reports").glob("*.html") if str(part) in output]
    text = report.read_text("utf-8")
    for part in ("<strong>documents</strong>", "is it mounted?", f"the whole folder '{folder}' is gone"):
        assert part in text
    assert _published(pipeline) == before
    assert pipeline.release_id == release


def _run_while_it_goes_away(pipeline, folder, listed):
    """Run until the source is listed, take it away, and give what the run printed; the source is there again then."""
    seen = _logs(pipeline).count(listed)
    process = _start(pipeline, folder)
    deadline = time.monotonic() + _TIMEOUT_S
    while _logs(pipeline).count(listed) == seen:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    aside = folder.with_name("unmounted")
    folder.rename(aside)
    output, _ = process.communicate(timeout=_TIMEOUT_S)
    aside.rename(folder)
    assert process.returncode == 1
    return output


def _search(pipeline, *questions):
    manifest = pipeline.release
    embedder = load_embedder(manifest.embedding, pipeline.paths.models)
    release = QdrantEdgeStore(pipeline.paths.shards, manifest.embedding, manifest.index).open(manifest)
    try:
        vectors = embedder.embed_queries(list(questions))
        requests = [SearchRequest(text, vector) for text, vector in zip(questions, vectors, strict=True)]
        return [(hits[0].doc_id, hits[0].source) for hits in release.search(requests)]
    finally:
        release.close()
