"""The process that Spark forks its Python workers from; it has imported what every worker needs.

A worker then starts in milliseconds instead of importing for seconds, and the workers share the libraries' pages.
"""

import importlib
import os

from pyspark.daemon import manager

from spark_jobs.preloading import PRELOAD_VARIABLE

_ALWAYS = ("lance", "numpy", "pandas", "pyarrow", "pyspark.worker", "pyspark.sql.worker.write_into_data_source")


def main() -> None:
    """Import, then serve Spark's requests for workers."""
    for name in (*_ALWAYS, *filter(None, os.environ.get(PRELOAD_VARIABLE, "").split(","))):
        importlib.import_module(name)
    manager()


if __name__ == "__main__":
    main()
