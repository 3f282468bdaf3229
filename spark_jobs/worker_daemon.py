"""The process that Spark forks its Python workers from; it has imported what every worker needs.

A worker then starts in milliseconds instead of importing for seconds, and the workers share the libraries' pages.
"""

import gc
import importlib
import importlib.util

from pyspark.daemon import manager

_NEEDED = (
    "lance",
    "numpy",
    "pandas",
    "pyarrow",
    "pyspark.worker",
    "spark_jobs.chunk_documents.transforms",
    "spark_jobs.embed_chunks.transforms",
    "spark_jobs.lance_frames",
    "spark_jobs.load_index.transforms",
    "spark_jobs.parse_documents.transforms",
    "spark_jobs.session",
)
# The libraries of embedding engines, the likelier first; a worker whose model needs another one imports it then.
_ENGINES = ("openvino", "sentence_transformers")


def main() -> None:
    """Import, then serve Spark's requests for workers."""
    engine = next(name for name in _ENGINES if importlib.util.find_spec(name))
    for name in (*_NEEDED, engine):
        importlib.import_module(name)
    # Spark collects garbage after every task: 0.1 s each, if it has to walk through torch.
    gc.freeze()
    manager()


if __name__ == "__main__":
    main()
