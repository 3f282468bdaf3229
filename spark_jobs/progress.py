"""Tells how far a long Spark stage is: a corpus of millions is read, or cut, in one."""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from py4j.protocol import Py4JError
from pyspark import StatusTracker
from pyspark.sql import SparkSession

__all__ = ["told_progress"]

_FIRST_S = 10.0
# Of a run of days, not a line every few seconds.
_SHARE = 0.02


@contextmanager
def told_progress(spark: SparkSession, tell: Callable[[str], None], first_s: float = _FIRST_S) -> Generator[None]:
    """Say, for as long as the context is open, how many tasks of the longest stage are done.

    Args:
        spark: The session that runs the stages.
        tell: Takes a sentence; called by another thread.
        first_s: Seconds until the first one; later they are a fiftieth of the time that has passed, if that is longer.
    """
    ended = threading.Event()
    tracker = spark.sparkContext.statusTracker()

    def watch() -> None:
        began, told = time.monotonic(), ""
        while not ended.wait(max(first_s, _SHARE * (time.monotonic() - began))):
            try:
                sentence = _sentence(tracker)
            except Py4JError:
                # Java is gone; whoever waits for a query says so.
                return
            if sentence not in ("", told):
                tell(sentence)
                told = sentence

    watcher = threading.Thread(target=watch, name="progress", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _sentence(tracker: StatusTracker) -> str:
    # A stage that has just ended is known no more.
    stages = [stage for number in tracker.getActiveStageIds() if (stage := tracker.getStageInfo(number)) is not None]
    if not stages:
        return ""
    longest = max(stages, key=lambda stage: stage.numTasks - stage.numCompletedTasks)
    return f"{longest.numCompletedTasks} of {longest.numTasks} tasks done"
