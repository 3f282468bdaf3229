"""What is read, how it is cut into chunks, and how web sites and Kafka are asked for it."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from forebay.settings.names import Names

__all__ = ["ChunkSettings", "CorpusSettings", "DuplicateSettings", "KafkaSettings", "WebSettings"]


class CorpusSettings(BaseSettings):
    """What is read and what is refused."""

    model_config = SettingsConfigDict(env_prefix="FOREBAY_CORPUS_", extra="ignore")

    name: str = "default"
    """Part of every chunk id, so two corpora never share one."""
    sources: Names = ()
    """What the schedule and the sensor ingest: folders, files, or addresses such as `s3://bucket/folder`."""
    shards: int = Field(default=2, ge=1, le=4096)
    """Number of document-hash shards (Dagster partitions, index shards). Fixed for the life of a data folder."""
    max_document_bytes: int = Field(default=8 * 2**20, ge=1)
    """Largest file, or JSONL line, that is parsed; larger ones are quarantined."""
    parser_timeout_s: float = Field(default=30.0, gt=0)
    """Longest time that the parser of one file may take; the file is quarantined then."""
    max_rejected_share: float = Field(default=0.2, ge=0, le=1)
    """A run that rejects a larger share of the source's documents fails its blocking check."""


class DuplicateSettings(BaseSettings):
    """Which documents count as the same."""

    model_config = SettingsConfigDict(env_prefix="FOREBAY_DUPLICATES_", extra="ignore")

    scope: Literal["corpus", "source", "off"] = "corpus"
    """Compare documents of all sources, of one source only, or none."""
    threshold: float = Field(default=0.8, gt=0, le=1)
    """Jaccard similarity of the runs of five words from which on two documents are duplicates; 1: exact ones."""


class ChunkSettings(BaseSettings):
    """How documents are split."""

    model_config = SettingsConfigDict(env_prefix="FOREBAY_CHUNK_", extra="ignore")

    max_tokens: int | None = Field(default=None, ge=16)
    """Budget of a chunk in the embedding model's own tokens, title and heading path included; what the model takes, if
    left out."""
    overlap_tokens: int = Field(default=32, ge=0)
    """Tokens shared by neighbouring chunks of one section."""


class KafkaSettings(BaseSettings):
    """How Kafka sources are reached and read; a source's name holds none of it."""

    model_config = SettingsConfigDict(env_prefix="FOREBAY_KAFKA_", extra="ignore")

    security_protocol: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = "plaintext"
    """How the brokers are talked to."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    """How the user is proved."""
    sasl_username: str = ""
    """Name of the user."""
    sasl_password: SecretStr | None = None
    """Password of the user; the file is the better place."""
    sasl_password_file: Path | None = None
    """File that holds the password, on every machine that runs a task; goes before `sasl_password`."""
    ssl_ca_file: Path | None = None
    """Certificates that sign the brokers'; the system's where it isn't set."""
    batch_messages: int = Field(default=50_000, ge=1)
    """Most messages that one run reads; the next one goes on."""
    range_messages: int = Field(default=5_000, ge=1)
    """Most messages that one task reads at a time."""
    timeout_s: float = Field(default=30, gt=0)
    """Longest time without an answer of a broker."""
    dead_letter_suffix: str = Field(default=".dead-letter", min_length=1)
    """Name of the topic of rejected messages, behind the name of the topic that they come from."""


def _host_names(value: object) -> object:
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list | tuple | set | frozenset):
        return names
    return frozenset(str(name).strip().lower() for name in names if str(name).strip())


class WebSettings(BaseSettings):
    """How pages are fetched from web sites that are sources."""

    model_config = SettingsConfigDict(env_prefix="FOREBAY_WEB_", extra="ignore")

    allow_private_hosts: Annotated[frozenset[str], NoDecode, BeforeValidator(_host_names)] = frozenset()
    """Hosts, by their exact names and divided by commas, that may lie in a private network or on this machine; all
    others must be public."""
    timeout_s: float = Field(default=30.0, gt=0)
    """Longest time that one page may take, redirects included."""
    delay_s: float = Field(default=0.1, ge=0)
    """Pause before each page, in each task that reads."""
    max_pages: int = Field(default=50_000, ge=1)
    """Most pages that a sitemap may list; a longer one is an error, for cutting it short would delete documents."""
    user_agent: str = Field(default="Forebay/0.1", pattern=r"^[!-~]([ -~]*[!-~])?$")
    """Name that web servers are told, and that robots.txt is asked about."""
