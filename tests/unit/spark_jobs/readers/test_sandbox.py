import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from forebay.documents import RejectionReason as Reason
from spark_jobs.parse_documents.readers import sandbox
from spark_jobs.parse_documents.readers.contract import Extracted, UnparsableError
from spark_jobs.parse_documents.readers.joining import MAX_TEXT_CHARS

_ROOT = Path(__file__).resolve().parents[4]
_TIMEOUT_S = 30


class _NeedsTwoArgumentsError(Exception):
    def __init__(self, one, two):
        super().__init__(one)


def own_pid(data):
    return Extracted(str(os.getpid()), "text", "title", {"n": len(data), "share": 0.5, "is_read": True})


def hang(data):
    while True:
        pass


def segfault(data):
    os.kill(os.getpid(), signal.SIGSEGV)


def leave(data):
    os._exit(3)


def exit_politely(data):
    sys.exit(4)


def eat_memory(data):
    return Extracted("x" * 2**40, "text")


def raise_what_cannot_be_pickled(data):
    raise _NeedsTwoArgumentsError("line one\nline two", 2)


def refuse(data):
    raise UnparsableError(Reason.ENCRYPTED, "locked", "the id")


def say_too_much(data):
    return Extracted("x" * (MAX_TEXT_CHARS + 1), "text")


def say_strange_things(data):
    return Extracted("lone \ud800, nul \x00, line\vend, pair \U0001f600", "text", "\udfff")


def echo(data):
    return Extracted(data.decode(), "text")


def _refusal(read, timeout_s=_TIMEOUT_S):
    with pytest.raises(UnparsableError) as caught:
        sandbox.run(read, b"data", timeout_s)
    return caught.value


def _pid():
    return int(sandbox.run(own_pid, b"", _TIMEOUT_S).text)


def _is_gone(pid, within_s=10):
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


def test_documents_share_a_child_that_is_not_this_process():
    first = sandbox.run(own_pid, b"abc", _TIMEOUT_S)
    assert first == Extracted(str(_pid()), "text", "title", {"n": 3, "share": 0.5, "is_read": True})
    assert int(first.text) != os.getpid()


def test_large_documents_pass_both_ways():
    assert sandbox.run(echo, b"x" * 2**23, _TIMEOUT_S).text == "x" * 2**23


def test_a_reader_that_hangs_is_stopped():
    before, start = _pid(), time.monotonic()
    refusal = _refusal(hang, timeout_s=0.3)
    assert (refusal.reason, refusal.detail) == (Reason.PARSER_TIMED_OUT, "parsing took longer than 0.3 s")
    assert time.monotonic() - start < 5
    assert _is_gone(before)
    assert _pid() != before


@pytest.mark.parametrize(
    ("read", "detail"),
    [
        (segfault, "the parser crashed (SIGSEGV)"),
        (leave, "the parser ended its process with status 3"),
        (exit_politely, "the parser ended its process with status 4"),
        (eat_memory, "the parser needed more than 4 GiB of memory"),
    ],
)
def test_a_reader_that_crashes_costs_one_document(read, detail):
    before = _pid()
    refusal = _refusal(read)
    assert (refusal.reason, refusal.detail) == (Reason.PARSER_CRASHED, detail)
    assert _pid() != before


def test_an_exception_costs_one_document_but_not_the_child():
    before = _pid()
    refusal = _refusal(raise_what_cannot_be_pickled)
    assert refusal.reason == Reason.PARSER_ERROR
    assert refusal.detail == "the parser failed (_NeedsTwoArgumentsError: line one line two)"
    assert _pid() == before


def test_a_refusal_arrives_as_it_was_raised():
    refusal = _refusal(refuse)
    assert (refusal.reason, refusal.detail, refusal.doc_id) == (Reason.ENCRYPTED, "locked", "the id")


def test_a_text_that_is_too_long_is_refused():
    assert _refusal(say_too_much).reason == Reason.EXPANDS_TOO_FAR


def test_what_no_table_could_hold_is_replaced():
    found = sandbox.run(say_strange_things, b"", _TIMEOUT_S)
    assert (found.text, found.title) == ("lone \ufffd, nul , line\nend, pair \U0001f600", "\ufffd")


def test_a_child_that_died_between_documents_is_replaced():
    before = _pid()
    os.kill(before, signal.SIGKILL)
    # Until it can be waited for, without doing so.
    os.waitid(os.P_PID, before, os.WEXITED | os.WNOWAIT)
    assert _pid() != before


def test_threads_have_children_of_their_own():
    pids = [_pid()]
    thread = threading.Thread(target=lambda: pids.append(_pid()))
    thread.start()
    thread.join()
    assert pids[0] != pids[1]
    assert _is_gone(pids[1])
    assert _pid() == pids[0]


def test_a_forked_process_has_a_child_of_its_own():
    mine = _pid()
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.write(writer, str(_pid()).encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as stream:
        assert int(stream.read()) != mine
    os.wait()
    assert _pid() == mine


_PARENT = """
from tests.unit.spark_jobs.readers import test_sandbox as here
print(here._pid(), flush=True)
{then}
"""


@pytest.mark.parametrize("then", ["here.sandbox.run(here.hang, b'', 600)", "import time; time.sleep(600)"])
def test_a_child_dies_with_a_killed_parent(then):
    command = [sys.executable, "-c", _PARENT.format(then=then)]
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as parent:
        child = int(parent.stdout.readline())
        assert psutil.pid_exists(child)
        parent.send_signal(signal.SIGKILL)
    assert _is_gone(child)


def test_a_parent_that_ends_leaves_nothing_behind():
    command = [sys.executable, "-W", "error", "-c", _PARENT.format(then="")]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == ""
    assert _is_gone(int(done.stdout))
