"""A Spark data source for Lance tables: tasks write fragments, the driver commits them at once.

A failed or killed task leaves the table as it was; its files are orphans until the table is cleaned up.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import lance
import pyarrow as pa
from lance.fragment import FragmentMetadata, write_fragments
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.datasource import (
    DataSource,
    DataSourceArrowWriter,
    DataSourceReader,
    InputPartition,
    WriterCommitMessage,
)
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.types import StructType

from forebay.tables import sql_text

__all__ = ["LanceDataSource", "append_lance", "read_lance", "read_lance_keys", "spark_arrow_schema"]

_READ_ROWS = 4096
_LOOKED_UP_KEYS = 5000


def spark_arrow_schema(schema: pa.Schema) -> pa.Schema:
    """Replace fixed-size lists, which Spark doesn't know, by lists."""
    fields = [
        field.with_type(pa.list_(field.type.value_type)) if pa.types.is_fixed_size_list(field.type) else field
        for field in schema
    ]
    return pa.schema(fields)


@dataclass
class _Fragment(InputPartition):
    fragment_id: int


@dataclass
class _Written(WriterCommitMessage):
    fragments: list[str]


class LanceDataSource(DataSource):
    """Options: `uri`; for reading `version` (default newest), `columns` (comma-separated) and `where`; `run_id`."""

    @classmethod
    def name(cls) -> str:
        """Give the name for `spark.read.format`."""
        return "lance"

    def schema(self) -> StructType:
        """Describe the chosen columns of the table."""
        return from_arrow_schema(spark_arrow_schema(_projected(dict(self.options))))

    def reader(self, schema: StructType) -> DataSourceReader:
        """Make a reader with one task per fragment."""
        return _LanceReader(dict(self.options))

    def writer(self, schema: StructType, overwrite: bool) -> DataSourceArrowWriter:
        """Make a writer that appends."""
        return _LanceWriter(dict(self.options))


def _open(options: dict[str, str]) -> lance.LanceDataset:
    version = options.get("version")
    return lance.dataset(options["uri"], version=int(version) if version else None)


def _columns(options: dict[str, str]) -> list[str] | None:
    return options["columns"].split(",") if options.get("columns") else None


def _projected(options: dict[str, str]) -> pa.Schema:
    schema = _open(options).schema
    columns = _columns(options)
    return schema if columns is None else pa.schema([schema.field(name) for name in columns])


class _LanceReader(DataSourceReader):
    def __init__(self, options: dict[str, str]) -> None:
        self._options = options
        # Pinned here, on the driver, so that all tasks read one version.
        self._options["version"] = str(_open(options).version)

    def partitions(self) -> list[InputPartition]:
        return [_Fragment(fragment.fragment_id) for fragment in _open(self._options).get_fragments()]

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        if not isinstance(partition, _Fragment):
            # An empty table has no fragments; Spark then asks once for a partition of its own.
            return
        dataset = _open(self._options)
        target = spark_arrow_schema(_projected(self._options))
        batches = dataset.scanner(
            columns=_columns(self._options),
            filter=self._options.get("where"),
            fragments=[dataset.get_fragment(partition.fragment_id)],
            batch_size=_READ_ROWS,
        ).to_batches()
        for batch in batches:
            yield batch.cast(target)


class _LanceWriter(DataSourceArrowWriter):
    def __init__(self, options: dict[str, str]) -> None:
        self._uri = options["uri"]
        self._schema = lance.dataset(self._uri).schema
        self._read_version = lance.dataset(self._uri).version
        self._properties = {"forebay.run_id": options.get("run_id", "")}

    def write(self, iterator: Iterator[pa.RecordBatch]) -> WriterCommitMessage:
        batches = (batch.cast(self._schema) for batch in iterator if batch.num_rows)
        first = next(batches, None)
        if first is None:
            return _Written([])

        def all_batches() -> Iterator[pa.RecordBatch]:
            yield first
            yield from batches

        reader = pa.RecordBatchReader.from_batches(self._schema, all_batches())
        return _Written([json.dumps(fragment.to_json()) for fragment in _fragments(reader, self._uri)])

    def commit(self, messages: list[WriterCommitMessage | None]) -> None:
        texts = [text for message in messages if isinstance(message, _Written) for text in message.fragments]
        if texts:
            fragments = [FragmentMetadata.from_json(text) for text in texts]
            operation = lance.LanceOperation.Append(fragments)
            transaction = lance.Transaction(self._read_version, operation, transaction_properties=self._properties)
            lance.LanceDataset.commit(self._uri, transaction)

    def abort(self, messages: list[WriterCommitMessage | None]) -> None:
        """Leave the table as it was; the orphan files go with the next clean-up."""


def _fragments(reader: pa.RecordBatchReader, uri: str) -> list[FragmentMetadata]:
    written = write_fragments(reader, uri, mode="append")
    assert isinstance(written, list)
    return written


def read_lance(
    spark: SparkSession,
    uri: str,
    *,
    version: int | None = None,
    columns: list[str] | None = None,
    where: str | None = None,
) -> DataFrame:
    """Read a version of a Lance table (default: the newest)."""
    reader = spark.read.format("lance").option("uri", uri)
    if version is not None:
        reader = reader.option("version", version)
    if columns is not None:
        reader = reader.option("columns", ",".join(columns))
    if where is not None:
        reader = reader.option("where", where)
    return reader.load()


def read_lance_keys(
    spark: SparkSession, uri: str, keys: DataFrame, *, version: int | None = None, where: str | None = None
) -> DataFrame:
    """Read the rows with certain keys; few keys are looked up by Lance, so that only their rows are read.

    Args:
        spark: The session.
        uri: The table.
        keys: One column, named like the table's; best persisted, because it is counted first.
        version: As for `read_lance`.
        where: As for `read_lance`.
    """
    (name,) = keys.columns
    some = [row[0] for row in keys.limit(_LOOKED_UP_KEYS + 1).collect()]
    if len(some) > _LOOKED_UP_KEYS:
        return read_lance(spark, uri, version=version, where=where).join(keys, name, "left_semi")
    wanted = f"{name} IN ({', '.join(map(sql_text, some))})" if some else "false"
    return read_lance(spark, uri, version=version, where=f"({where}) AND {wanted}" if where else wanted)


def append_lance(frame: DataFrame, uri: str, run_id: str) -> None:
    """Append rows to a Lance table in one commit that carries the run's id; no rows, no commit."""
    frame.write.format("lance").mode("append").option("uri", uri).option("run_id", run_id).save()
