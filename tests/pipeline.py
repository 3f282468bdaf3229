"""Running the real pipeline on a small real corpus, as `forebay ingest` does."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from forebay.releases import ReleaseRegistry
from forebay.settings import PathSettings

ROOT = Path(__file__).resolve().parent.parent
SHARDS = 3
_RUN_TIMEOUT_S = 600
_KILL_TIMEOUT_S = 300


@dataclass
class Pipeline:
    """A source folder, a data folder and the means to run the pipeline from one to the other."""

    source: Path
    data: Path

    @property
    def paths(self):
        return PathSettings(data=self.data)

    @property
    def environment(self):
        return {
            **os.environ,
            "FOREBAY_DATA": str(self.data),
            "FOREBAY_CORPUS_SHARDS": str(SHARDS),
            "FOREBAY_EMBEDDING_COMMIT_ROWS": "16",
            "FOREBAY_CORPUS_MAX_REJECTED_SHARE": "0.5",
        }

    def start(self, *, reembed=False, **environment):
        work = ["--reembed"] if reembed else ["--source", str(self.source)]
        command = [sys.executable, "-m", "orchestration.run", *work]
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, **environment):
        """Run to the end; gives (succeeded, what it printed)."""
        process = self.start(**environment)
        output, _ = process.communicate(timeout=_RUN_TIMEOUT_S)
        return process.returncode == 0, output

    def kill_when(self, condition, **how):
        """Start a run and SIGKILL its Spark jobs, with all of their processes, once `condition()` holds."""
        process = self.start(**how)
        deadline = time.monotonic() + _KILL_TIMEOUT_S
        while time.monotonic() < deadline and process.poll() is None:
            jobs = [child for child in _descendants(process.pid) if "spark_jobs.job_process" in _command(child)]
            if jobs and condition():
                victims = [*jobs, *(child for job in jobs for child in _descendants(job.pid))]
                for victim in victims:
                    _kill(victim)
                process.communicate(timeout=_RUN_TIMEOUT_S)
                return process.returncode
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        raise AssertionError(f"the moment to kill never came: {process.communicate()[0]}")

    @property
    def release_id(self):
        return ReleaseRegistry(self.paths.releases).current_id()

    @property
    def release(self):
        return ReleaseRegistry(self.paths.releases).current()


def _descendants(pid):
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _command(process):
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _kill(process):
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()


def write_corpus(folder, n_documents=40):
    """Write a source: Cranfield abstracts as JSONL with golden questions, a Markdown file, an HTML file."""
    folder.mkdir(parents=True, exist_ok=True)
    sample = ROOT / "samples" / "cranfield"
    rows = [json.loads(line) for line in (sample / "corpus.jsonl").read_text("utf-8").splitlines()[:n_documents]]
    write_rows(folder, rows)
    (folder / "guide.md").write_text(
        "# Forebay guide\n\nIntro.\n\n## Turbines\n\nA turbine turns falling water into power.\n"
    )
    article = "<p>The penstock leads water from the forebay down to the turbines of the plant.</p>" * 4
    (folder / "penstock.html").write_text(
        f"<html><head><title>Penstocks</title></head><body><article>{article}</article></body></html>"
    )
    (folder / "prüfung.txt").write_text(
        "Die Turbinen des Kraftwerks werden jedes Jahr geprüft. Dabei wird das Wasser aus dem Vorbecken abgelassen.",
        "utf-8",
    )
    # All but the last words of the first abstract: a near-duplicate in another place.
    (folder / "copies").mkdir()
    (folder / "copies" / "1.txt").write_text(rows[0]["text"].rsplit(" ", 8)[0], "utf-8")
    kept = {row["_id"] for row in rows}
    judgements = [line.split("\t") for line in (sample / "qrels.tsv").read_text().splitlines()[1:]]
    judgements = [entry for entry in judgements if entry[1] in kept]
    asked = {entry[0] for entry in judgements}
    queries = (sample / "queries.jsonl").read_text("utf-8").splitlines()
    (folder / "queries.jsonl").write_text("\n".join(line for line in queries if json.loads(line)["_id"] in asked))
    (folder / "qrels.tsv").write_text("\n".join(["q\td\ts", *("\t".join(entry) for entry in judgements)]))
    return rows


def write_rows(folder, rows):
    (folder / "abstracts.jsonl").write_text("\n".join(json.dumps(row) for row in rows), "utf-8")


def write_bad_input(folder):
    """Write one of every kind of bad input; gives the expected (file, reason) pairs."""
    (folder / "junk.txt").write_bytes(os.urandom(4096))
    (folder / "empty.txt").write_bytes(b"")
    (folder / "encoding.txt").write_bytes(b"\xff\xfe\x00")
    (folder / "picture.png").write_bytes(b"\x89PNG")
    with (folder / "huge.jsonl").open("wb") as stream:
        # A line of 200 MB, as a hole: it costs no disk, but reads as 200 MB.
        stream.seek(200 * 2**20)
        stream.write(b"\n" + json.dumps({"_id": "after-huge", "text": "The row after the huge line."}).encode())
    bad_rows = [
        '{"_id": "no-text"}',
        '{"_id": "blank", "text": "  "}',
        "{broken",
        '{"_id": "1", "text": "a second 1"}',
    ]
    (folder / "rows.jsonl").write_text("\n".join(bad_rows))
    return {
        ("junk.txt", "binary_content"),
        ("empty.txt", "blank_text"),
        ("encoding.txt", "unknown_encoding"),
        ("picture.png", "unsupported_format"),
        ("huge.jsonl#L1", "too_large"),
        ("rows.jsonl#L1", "missing_text"),
        ("rows.jsonl#L2", "blank_text"),
        ("rows.jsonl#L3", "invalid_json"),
        ("rows.jsonl", "duplicate_id"),
    }
