"""The process that Spark forks its Python workers from; it has imported what every worker needs.

A worker then starts in milliseconds instead of importing for a second, and shares the pages of the libraries.
"""

import importlib

from pyspark.daemon import manager

for name in ("lance", "numpy", "pandas", "pyarrow", "pyspark.worker", "pyspark.sql.worker.write_into_data_source"):
    importlib.import_module(name)

if __name__ == "__main__":
    manager()
