"""The process that Spark forks its Python workers from; it has imported what every worker needs.

A worker then starts in milliseconds instead of importing for seconds, and the workers share the libraries' pages.
"""

import gc
import importlib
import os

from pyspark.daemon import manager

from spark_jobs.preloading import PRELOAD_VARIABLE

_ALWAYS = ("lance", "numpy", "pandas", "pyarrow", "pyspark.worker", "spark_jobs.lance_frames", "spark_jobs.session")


def main() -> None:
    """Import, then serve Spark's requests for workers."""
    for name in (*_ALWAYS, *filter(None, os.environ.get(PRELOAD_VARIABLE, "").split(","))):
        importlib.import_module(name)
    # Spark collects garbage after every task: 0.1 s each, if it has to walk through torch.
    gc.freeze()
    manager()


if __name__ == "__main__":
    main()
