"""Run a reader in a child process, so that a parser that hangs, crashes or eats memory costs one document."""

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe

from forebay.documents import RejectionReason
from forebay.errors import ConfigurationError
from spark_jobs.parse_documents.readers.child import MEMORY_BYTES, OUT_OF_MEMORY, READY
from spark_jobs.parse_documents.readers.contract import Extracted, UnparsableError

__all__ = ["run"]

_START_TIMEOUT_S = 120
_END_TIMEOUT_S = 5
_MAX_ANSWER_BYTES = 2**28
_START = (
    "import sys; descriptor, parent, *sys.path = sys.argv[1:]; "
    "from spark_jobs.parse_documents.readers.child import serve; serve(int(descriptor), int(parent))"
)


def run(read: Callable[[bytes], Extracted], data: bytes, timeout_s: float) -> Extracted:
    """Read one document in the child of this thread, starting one where there is none.

    Args:
        read: A function at the top level of a module that the child can import.
        data: The bytes of one file.
        timeout_s: Time after which the child is killed.

    Raises:
        UnparsableError: the reader refuses the bytes, fails, takes too long or too much memory, or crashes.
        ConfigurationError: the child doesn't start.
    """
    answer = json.loads(_child().ask(pickle.dumps(read), data, timeout_s))
    if "reason" in answer:
        raise UnparsableError(RejectionReason(answer["reason"]), answer["detail"], answer["doc_id"])
    return Extracted(**answer)


class _Children(threading.local):
    # Per thread, because Linux kills a child when the *thread* that started it ends.
    child: "_Child | None" = None


_children = _Children()


def _child() -> "_Child":
    child = _children.child
    if child is None or not child.is_usable():
        child = _children.child = _Child()
    return child


class _Child:
    """One child process, good for any number of documents until one of them kills it.

    Not multiprocessing's, because its children import the parent's main module, nor a pool's, because a process
    that dies between two documents breaks it.
    """

    def __init__(self) -> None:
        self._channel, theirs = Pipe()
        self._owner = os.getpid()
        command = [sys.executable, "-P", "-c", _START, str(theirs.fileno()), str(self._owner), *sys.path]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])
        theirs.close()
        self.close = weakref.finalize(self, _close, self._owner, self._process, self._channel)
        try:
            is_ready = self._channel.poll(_START_TIMEOUT_S) and self._channel.recv_bytes() == READY
        except (EOFError, OSError):
            is_ready = False
        if not is_ready:
            self.close()
            raise ConfigurationError(
                f"the process that parses documents does not start (exit status {self._process.returncode}); "
                "its error stands in the log, just above this one."
            )

    def is_usable(self) -> bool:
        """Say whether it lives and is this process's own, not one inherited through a fork."""
        return self._owner == os.getpid() and self._process.poll() is None

    def ask(self, reader: bytes, data: bytes, timeout_s: float) -> bytes:
        """Send one document and wait for the answer; anything but an answer ends the child."""
        try:
            return self._exchange(reader, data, timeout_s)
        except (EOFError, OSError) as exc:
            self.close()
            raise UnparsableError(RejectionReason.PARSER_CRASHED, _how_it_ended(self._process.returncode)) from exc
        except BaseException:
            # Whatever interrupted this, the next document must not get this one's answer.
            self._process.kill()
            self.close()
            raise

    def _exchange(self, reader: bytes, data: bytes, timeout_s: float) -> bytes:
        self._channel.send_bytes(reader)
        self._channel.send_bytes(data)
        if self._channel.poll(timeout_s):
            return self._channel.recv_bytes(_MAX_ANSWER_BYTES)
        detail = f"parsing took longer than {timeout_s:g} s"
        raise UnparsableError(RejectionReason.PARSER_TIMED_OUT, detail)


def _close(owner: int, process: subprocess.Popen[bytes], channel: Connection) -> None:
    channel.close()
    if os.getpid() != owner:
        return
    try:
        # A child that crashed is already on its way; its own exit status says more than our signal.
        process.wait(_END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _how_it_ended(status: int) -> str:
    if status == OUT_OF_MEMORY:
        return f"the parser needed more than {MEMORY_BYTES // 2**30} GiB of memory"
    if status < 0:
        return f"the parser crashed ({signal.Signals(-status).name})"
    return f"the parser ended its process with status {status}"
