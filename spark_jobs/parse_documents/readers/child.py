"""The child process that readers run in: its limits, and answering one document after the other."""

import json
import logging
import os
import pickle
import re
import resource
import signal
import sys
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from forebay.documents import RejectionReason
from forebay.processes import die_with_parent
from spark_jobs.parse_documents.readers.contract import Extracted, UnparsableError
from spark_jobs.parse_documents.readers.joining import MAX_TEXT_CHARS, expands_too_far

__all__ = ["MEMORY_BYTES", "OUT_OF_MEMORY", "READY", "serve"]

READY = b"ready"
"""What the child says once it can take the first document."""
OUT_OF_MEMORY = 77
"""Exit status of a child that reached its memory limit."""
MEMORY_BYTES = 4 * 2**30
"""Address space that a reader may take on top of what an idle child has."""

_MAX_DETAIL_CHARS = 200
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f]")


def serve(descriptor: int, parent: int) -> None:
    """Answer documents until the parent closes its end or dies.

    Args:
        descriptor: The socket: per document the pickled reader and the bytes come in, one JSON object goes out.
        parent: Process that started this one; if it is killed, so is this one.
    """
    if sys.platform == "linux":
        die_with_parent(parent)
        _limit_memory()
    # Ctrl-C in a terminal reaches the whole process group; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    channel = Connection(descriptor)
    channel.send_bytes(READY)
    while True:
        try:
            reader, data = channel.recv_bytes(), channel.recv_bytes()
        except EOFError:
            return
        try:
            channel.send_bytes(_answer(pickle.loads(reader), data))
        except MemoryError:
            # The heap may be in pieces: the next document gets a fresh child.
            os._exit(OUT_OF_MEMORY)


def _answer(read: Callable[[bytes], Extracted], data: bytes) -> bytes:
    try:
        found = read(data)
        if len(found.text) > MAX_TEXT_CHARS:
            raise expands_too_far()
    except UnparsableError as exc:
        return _encoded({"reason": exc.reason, "detail": exc.detail, "doc_id": exc.doc_id})
    except MemoryError:
        raise
    except Exception as exc:  # whatever a parser raises costs one document
        message = " ".join(f"the parser failed ({type(exc).__name__}: {exc})".split())
        return _encoded({"reason": RejectionReason.PARSER_ERROR, "detail": message[:_MAX_DETAIL_CHARS], "doc_id": None})
    text = _CONTROL.sub("", found.text.replace("\v", "\n"))
    return _encoded({"text": text, "format": found.format, "title": found.title, "metadata": dict(found.metadata)})


def _encoded(answer: dict[str, Any]) -> bytes:
    text = json.dumps(answer, ensure_ascii=False)
    try:
        return text.encode()
    except UnicodeEncodeError:
        # Lone surrogates, which some parsers let through, become U+FFFD.
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def _limit_memory() -> None:
    with open("/proc/self/statm") as stream:
        idle = int(stream.read().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = idle + MEMORY_BYTES
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
