"""The process that Spark forks its Python workers from; it has imported what every worker needs.

A worker then starts in milliseconds instead of importing for seconds, and the workers share the libraries' pages.
"""

import gc
import importlib

from pyspark.daemon import manager

_NEEDED = (
    "lance",
    "numpy",
    "pandas",
    "pyarrow",
    "pyspark.worker",
    "sentence_transformers",
    "spark_jobs.chunk_documents.transforms",
    "spark_jobs.embed_chunks.transforms",
    "spark_jobs.lance_frames",
    "spark_jobs.load_index.transforms",
    "spark_jobs.parse_documents.transforms",
    "spark_jobs.session",
)


def main() -> None:
    """Import, then serve Spark's requests for workers."""
    for name in _NEEDED:
        importlib.import_module(name)
    # Spark collects garbage after every task: 0.1 s each, if it has to walk through torch.
    gc.freeze()
    manager()


if __name__ == "__main__":
    main()
