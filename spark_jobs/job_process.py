"""A process that runs the Spark jobs of one Dagster run, one after another: `python -m spark_jobs.job_process`.

What starts slowly - the JVM, Python workers, libraries - starts once for all of them. Each line of the standard input
is one job to run; the line "done" answers it. A job that fails ends the process with the job's status, for nobody knows
what state a crash leaves Spark in. Jobs hold the lock on the data folder while they run.
"""

import gc
import json
import os
import runpy
import sys

from forebay.data_lock import data_lock
from forebay.processes import die_with_parent
from forebay.settings import PathSettings
from spark_jobs.pipes import job_clock
from spark_jobs.session import stop_session

__all__ = ["main"]


def main() -> None:
    """Run jobs until the input ends."""
    die_with_parent()
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    # Whatever a library prints must not be taken for an answer.
    os.dup2(2, 1)
    for number, line in enumerate(sys.stdin):
        order = json.loads(line)
        os.environ.update(order["environment"])
        with data_lock(PathSettings().data.absolute(), on_wait=lambda: None):
            if number:
                job_clock.restart()
            runpy.run_module(order["module"], run_name="__main__")
        answers.write("done\n")
    stop_session()
    # Python ends with several collections of garbage: 0.6 s, where they have to walk through 3,000 modules.
    gc.freeze()


if __name__ == "__main__":
    main()
