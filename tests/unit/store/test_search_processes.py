import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from forebay.errors import FilterError, ReleaseError
from forebay.settings import PathSettings
from forebay.store import search_processes
from forebay.store.contract import SearchRequest
from forebay.store.opening import open_index
from forebay.store.search_processes import SearchProcesses
from forebay.testing import HashEmbedder
from tests.releases import build_release

_EMBEDDER = HashEmbedder()
_TEXTS = ["wing lift", "heat transfer", "boundary layer", "shock wave", "panel flutter"]


def _requests(*texts, **how):
    vectors = _EMBEDDER.embed_queries(list(texts))
    return [SearchRequest(text, vector, 3, **how) for text, vector in zip(texts, vectors, strict=True)]


def _kill_first(release):
    process = release._processes[0]._process
    process.kill()
    process.join()


def _fail(*_):
    raise ReleaseError("no memory")


@pytest.fixture
def searchers():
    """Lists the processes that have come since the test began; others' may linger."""
    before = set(psutil.Process().children(recursive=True))

    def list_them():
        found = set(psutil.Process().children(recursive=True)) - before
        return [process for process in found if _is_searcher(process)]

    return list_them


def _is_searcher(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE and "spawn_main" in " ".join(process.cmdline())
    except psutil.Error:
        return False


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return PathSettings(data=tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def manifest(paths):
    documents = [(f"d{n}", f"Title {n}", f"{_TEXTS[n % 5]} study number{n}", {"n": n}) for n in range(50)]
    return build_release(paths.shards, documents, _EMBEDDER)


@pytest.fixture
def release(searchers, manifest, paths):
    opened = SearchProcesses(manifest, paths, 2)
    yield opened
    opened.close()


def test_answers_are_those_of_the_index_in_the_order_of_the_requests(release, manifest, paths):
    requests = _requests(*_TEXTS)
    alone = open_index(manifest, paths)
    assert release.search(requests) == alone.search(requests)
    assert release.search(requests[:1]) == alone.search(requests[:1])
    by_score = _requests(*_TEXTS, fusion="relative_score")
    assert release.search(by_score) == alone.search(by_score) != alone.search(requests)
    assert release.search([]) == []
    assert release.count({"metadata.n": 7}) == alone.count({"metadata.n": 7}) == 1
    alone.close()


def test_a_wrong_filter_is_the_same_error_as_without_processes(release):
    with pytest.raises(FilterError, match="colour"):
        release.search(_requests("wing", where={"colour": "red"}))


def test_a_process_that_was_killed_is_replaced_and_its_requests_are_answered(release, searchers):
    expected = release.search(_requests(*_TEXTS))
    for _ in range(2):
        victim = searchers()[0]
        victim.kill()
        psutil.wait_procs([victim], timeout=10)
        assert release.search(_requests(*_TEXTS)) == expected
        assert len(searchers()) == 2


def test_an_answer_that_nobody_waited_for_is_never_taken_for_another(release):
    expected = release.search(_requests(*_TEXTS))
    for process in release._processes:
        process.send("count", None)
    assert release.search(_requests(*_TEXTS)) == expected


def test_one_question_goes_to_the_first_process_that_is_free(release):
    expected = release.search(_requests("wing"))
    assert release.search(_requests("wing")) == expected
    first, second = release._processes
    assert (first._asked, second._asked) == (2, 0)
    with release._locks[0]:
        assert release.search(_requests("wing")) == expected
    assert (first._asked, second._asked) == (2, 1)


def test_a_process_that_can_not_be_replaced_is_asked_last(release, searchers, monkeypatch):
    expected = release.search(_requests("wing"))

    _kill_first(release)
    monkeypatch.setattr(search_processes, "_REOPEN_PAUSE_S", 0.0)
    with monkeypatch.context() as patched:
        patched.setattr(search_processes, "_Process", _fail)
        with pytest.raises(ReleaseError, match="no memory"):
            release.search(_requests("wing"))
    assert release.search(_requests("wing")) == expected
    assert len(searchers()) == 1
    with release._locks[1]:
        assert release.search(_requests("wing")) == expected
    assert len(searchers()) == 2


def test_for_one_that_can_not_be_replaced_the_others_answer(release, monkeypatch):
    expected = release.search(_requests(*_TEXTS))

    _kill_first(release)
    monkeypatch.setattr(search_processes, "_REOPEN_PAUSE_S", 600.0)
    monkeypatch.setattr(search_processes, "_Process", _fail)
    with pytest.raises(ReleaseError, match="no memory"):
        release.search(_requests(*_TEXTS))
    assert release.search(_requests(*_TEXTS)) == expected
    # Those who come while it is busy wait for it.
    with ThreadPoolExecutor(4) as pool:
        with release._locks[1]:
            asked = [pool.submit(release.search, _requests(text)) for text in _TEXTS[:4]]
            time.sleep(0.2)
        assert [found.result() for found in asked] == [[hits] for hits in expected[:4]]


def test_one_bad_request_leaves_no_answer_behind(release):
    expected = release.search(_requests(*_TEXTS))
    with pytest.raises(FilterError):
        release.search([*_requests("wing", where={"colour": "red"}), *_requests("heat")])
    assert release.search(_requests(*_TEXTS)) == expected


@pytest.mark.parametrize(("cores", "expected"), [(1, "so so so"), (4, "ss oo so"), (64, "sss ooo")])
def test_half_of_the_cores_open_at_once(manifest, paths, monkeypatch, cores, expected):
    events = []

    class Watched(search_processes._Process):
        def __init__(self, *arguments):
            events.append("s")
            super().__init__(*arguments)

        def wait_until_open(self):
            super().wait_until_open()
            events.append("o")

    monkeypatch.setattr(search_processes, "_Process", Watched)
    monkeypatch.setattr(search_processes.os, "cpu_count", lambda: cores)
    SearchProcesses(manifest, paths, 3).close()
    assert "".join(events) == expected.replace(" ", "")


@pytest.mark.parametrize(
    ("cores", "processes", "threads"), [(1, 1, 1), (2, 1, 2), (2, 2, 2), (2, 3, 1), (2, 8, 1), (16, 4, 8), (16, 1, 16)]
)
def test_the_threads_of_all_searches_are_twice_the_cores_at_most(
    manifest, paths, monkeypatch, cores, processes, threads
):
    asked = []

    class Watched:
        def __init__(self, _, __, threads):
            asked.append(threads)

        def wait_until_open(self):
            pass

        def close(self):
            pass

    monkeypatch.setattr(search_processes, "_Process", Watched)
    monkeypatch.setattr(search_processes.os, "cpu_count", lambda: cores)
    SearchProcesses(manifest, paths, processes)
    assert asked == [threads] * processes


def test_closing_ends_the_processes(manifest, paths, searchers):
    opened = SearchProcesses(manifest, paths, 2)
    processes = searchers()
    assert len(processes) == 2
    opened.close()
    assert psutil.wait_procs(processes, timeout=20)[1] == []


def test_a_damaged_release_is_the_same_error_and_leaves_no_process(manifest, paths, searchers):
    damaged = manifest.model_copy(update={"shards": (manifest.shards[0].model_copy(update={"path": "s000/gone"}),)})
    with pytest.raises(ReleaseError, match="missing"):
        SearchProcesses(damaged, paths, 2)
    assert psutil.wait_procs(searchers(), timeout=20)[1] == []


def test_processes_dont_outlive_a_parent_that_is_killed(manifest, paths, searchers):
    program = """
import sys
from pathlib import Path
from forebay.releases import ReleaseManifest
from forebay.settings import PathSettings
from forebay.store.search_processes import SearchProcesses
if __name__ == "__main__":
    manifest = ReleaseManifest.model_validate_json(sys.argv[1])
    release = SearchProcesses(manifest, PathSettings(data=Path(sys.argv[2])), 1)
    print("open", flush=True)
    sys.stdin.read()
"""
    script = paths.data / "parent.py"
    script.write_text(program)
    command = [sys.executable, str(script), manifest.model_dump_json(), str(paths.data)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout.readline() == "open\n"
        children = searchers()
        assert children
        os.kill(parent.pid, signal.SIGKILL)
        deadline = time.monotonic() + 20
        while any(child.is_running() and child.status() != "zombie" for child in children):
            assert time.monotonic() < deadline
            time.sleep(0.1)
