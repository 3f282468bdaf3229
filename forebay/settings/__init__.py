"""Every setting, one class per concern; built once at process start and passed down.

Each field can be set by an environment variable: the class's prefix plus the field's name in capitals
(`FOREBAY_DATA`, `FOREBAY_CHUNK_MAX_TOKENS`, ...). Nothing else in Forebay reads the environment.
"""

from forebay.settings.index import EmbeddingSettings, IndexSettings, WeaviateSettings, WrittenIndexSettings
from forebay.settings.paths import PathSettings
from forebay.settings.pipeline import LaunchSettings, MaintenanceSettings, ReleaseSettings, SparkSettings
from forebay.settings.serving import GeneratorSettings, ServingSettings
from forebay.settings.sources import ChunkSettings, CorpusSettings, DuplicateSettings, KafkaSettings, WebSettings

__all__ = [
    "ChunkSettings",
    "CorpusSettings",
    "DuplicateSettings",
    "EmbeddingSettings",
    "GeneratorSettings",
    "IndexSettings",
    "KafkaSettings",
    "LaunchSettings",
    "MaintenanceSettings",
    "PathSettings",
    "ReleaseSettings",
    "ServingSettings",
    "SparkSettings",
    "WeaviateSettings",
    "WebSettings",
    "WrittenIndexSettings",
]
