"""The process that Spark forks its Python workers from; it has imported what every worker needs.

A worker then starts in milliseconds instead of importing for seconds, and the workers share the libraries' pages.
"""

import gc
import importlib
import importlib.util

from pyspark.daemon import manager

from forebay.candidates import Candidate
from forebay.machine import computes_on_gpu
from forebay.settings import EmbeddingSettings, PathSettings

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
_LIBRARIES = {
    "torch": "sentence_transformers",
    "late": "sentence_transformers",
    "openvino": "openvino",
    "static": "safetensors.numpy",
}


def main() -> None:
    """Import, then serve Spark's requests for workers."""
    for name in (*_NEEDED, _LIBRARIES[_likely_engine()]):
        importlib.import_module(name)
    # Spark collects garbage after every task: 0.1 s each, if it has to walk through torch.
    gc.freeze()
    manager()


def _likely_engine() -> str:
    """Guess what embeds; where it is another engine, workers import its library when they need it."""
    configured = EmbeddingSettings().engine
    if configured != "auto":
        return configured
    candidate = Candidate.load(PathSettings().shards)
    if candidate is not None and candidate.embedding.engine in _LIBRARIES:
        return candidate.embedding.engine
    return "openvino" if importlib.util.find_spec("openvino") and not computes_on_gpu() else "torch"


if __name__ == "__main__":
    main()
