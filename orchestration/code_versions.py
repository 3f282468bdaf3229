"""What each table is made with, so that Dagster marks as out of date exactly what a change of it concerns.

The Spark jobs find out by themselves what they must make again; these versions say the same to people, in the page
of an asset, before anything runs. They are read when Dagster loads the definitions, so no model is opened here.
"""

from pathlib import Path

from forebay.chunks import CHUNKER_VERSION
from forebay.documents import PARSER_VERSION, content_hash
from forebay.embedding.choice import settings_of_corpus
from forebay.models import PACKAGED_MODELS
from forebay.settings import (
    ChunkSettings,
    CorpusSettings,
    DuplicateSettings,
    EmbeddingSettings,
    IndexSettings,
    PathSettings,
)

__all__ = [
    "chunks_version",
    "documents_version",
    "embeddings_version",
    "index_version",
    "model_identity",
]

_WEIGHTS = (".json", ".safetensors", ".bin", ".model", ".txt")


def documents_version(corpus: CorpusSettings, duplicates: DuplicateSettings) -> str:
    """Name the way of parsing and of finding duplicates."""
    return _short(PARSER_VERSION, str(corpus.max_document_bytes), duplicates.model_dump_json())


def chunks_version(corpus: CorpusSettings, chunks: ChunkSettings, model: str) -> str:
    """Name the way of cutting; `model` is the identity of the model whose tokens are counted."""
    return _short(CHUNKER_VERSION, corpus.name, chunks.model_dump_json(), model)


def embeddings_version(embedding: EmbeddingSettings, model: str) -> str:
    """Name the model, its engine and arithmetic; sizes of batches and commits don't change a vector."""
    return _short(embedding.engine, embedding.precision, model)


def index_version(index: IndexSettings) -> str:
    """Name the way of building shards."""
    return _short(index.model_dump_json())


def model_identity(settings: EmbeddingSettings, paths: PathSettings) -> str:
    """Name the files of the configured model, or of the corpus's own, without reading their contents.

    A packaged model is named by its pinned checksums, a local folder by its files' sizes and times, and a model of
    the hub by the revision that the cache holds. With late chunking it is another model: chunks are cut otherwise, too.
    """
    settings = settings_of_corpus(settings, paths)
    files = _files_identity(settings.model, paths)
    return f"late {files}" if settings.engine == "late" else files


def _files_identity(name: str, paths: PathSettings) -> str:
    if name.startswith("package:"):
        return repr(PACKAGED_MODELS.get(name.removeprefix("package:"), name))
    folder = Path(name)
    if folder.is_dir():
        files = sorted(path for path in folder.rglob("*") if path.suffix in _WEIGHTS)
        return content_hash(*(f"{path.relative_to(folder)} {_state(path)}" for path in files))
    revision = paths.models / "hub" / f"models--{name.replace('/', '--')}" / "refs" / "main"
    return f"{name}@{revision.read_text('utf-8').strip()}" if revision.is_file() else name


def _state(path: Path) -> str:
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns}"


def _short(*parts: str) -> str:
    return content_hash(*parts)[:12]
