"""Lance tables as Spark frames: tasks read and write fragments, the driver commits them at once.

A failed or killed task leaves the table as it was; its files are orphans until the table is cleaned up.

Not a Python `DataSource`: Spark plans each read and write of one in fresh Python interpreters (seconds of imports), and
doesn't use its worker daemon for them.
"""

import json
from collections.abc import Iterator
from itertools import chain

import lance
import pyarrow as pa
from lance.fragment import FragmentMetadata, write_fragments
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import from_arrow_schema

from forebay.tables import OFFSET_BITS, Table, fragment_bytes, rows_per_batch, sql_text
from spark_jobs.broadcasts import broadcast_few

__all__ = ["append_lance", "delete_lance_keys", "read_lance", "read_lance_keys", "replace_lance", "spark_arrow_schema"]

# By default gigabytes: a worker would hold whole fragments of texts.
_READ_BUFFER_BYTES = 16 * 2**20
# Lance looks for so many keys without Spark: it reads the whole column once for every few of them.
_LOOKED_UP_KEYS = 5000
# Every change leaves fragments of a few rows, and a task has its price.
_TASK_ROWS = 10_000
_TASK_BYTES = 32 * 2**20


def spark_arrow_schema(schema: pa.Schema) -> pa.Schema:
    """Replace fixed-size lists, which Spark doesn't know, by lists."""
    fields = [
        field.with_type(pa.list_(field.type.value_type)) if pa.types.is_fixed_size_list(field.type) else field
        for field in schema
    ]
    return pa.schema(fields)


def read_lance(
    spark: SparkSession,
    uri: str,
    *,
    version: int | None = None,
    columns: list[str] | None = None,
    where: str | None = None,
) -> DataFrame:
    """Read a table; small fragments share a task.

    Args:
        spark: The session.
        uri: The table.
        version: Version to read; the newest at the time of this call where none is given.
        columns: Columns to read; all where none are given.
        where: SQL condition, evaluated by Lance.
    """
    dataset = lance.dataset(uri, version=version)
    return _scanned(spark, dataset, dataset.schema.names if columns is None else columns, where)


def _scanned(
    spark: SparkSession,
    dataset: lance.LanceDataset,
    columns: list[str],
    where: str | None,
    *,
    with_address: bool = False,
) -> DataFrame:
    """Read a version of a table, if wanted with each row's `_rowaddr`: its fragment, and its offset there."""
    uri, pinned, tasks = dataset.uri, dataset.version, _packed(dataset)
    address = [pa.field("_rowaddr", pa.int64())] if with_address else []
    target = spark_arrow_schema(pa.schema([*(dataset.schema.field(name) for name in columns), *address]))

    def read(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        opened = lance.dataset(uri, version=pinned)
        for batch in batches:
            for number in batch.column(0).to_pylist():
                fragments = [opened.get_fragment(fragment_id) for fragment_id in tasks[number]]
                scanner = opened.scanner(
                    columns=columns,
                    filter=where,
                    fragments=fragments,
                    batch_size=rows_per_batch(fragments),
                    io_buffer_size=_READ_BUFFER_BYTES,
                    with_row_address=with_address,
                )
                for rows in scanner.to_batches():
                    yield rows.cast(target)

    numbers = spark.range(0, len(tasks), numPartitions=max(1, len(tasks)))
    return numbers.mapInArrow(read, from_arrow_schema(target))


def _packed(dataset: lance.LanceDataset) -> list[list[int]]:
    """Group the ids of fragments, in their order, into tasks of about `_TASK_ROWS` rows or `_TASK_BYTES` of files."""
    tasks: list[list[int]] = []
    n_rows, n_bytes = _TASK_ROWS, 0
    for fragment in dataset.get_fragments():
        if n_rows >= _TASK_ROWS or n_bytes >= _TASK_BYTES:
            tasks.append([])
            n_rows = n_bytes = 0
        tasks[-1].append(fragment.fragment_id)
        n_rows += fragment.metadata.num_rows
        n_bytes += fragment_bytes(fragment)
    return tasks


def read_lance_keys(
    spark: SparkSession,
    uri: str,
    keys: DataFrame,
    *,
    version: int | None = None,
    columns: list[str] | None = None,
    where: str | None = None,
) -> DataFrame:
    """Read the rows with certain keys; few keys are looked up by Lance, so that only their rows are read.

    Args:
        spark: The session.
        uri: The table.
        keys: One column, named like the table's; best persisted, because it is counted first.
        version: As for `read_lance`.
        columns: Likewise; the keys' among them.
        where: Likewise.
    """
    (name,) = keys.columns
    some = [row[0] for row in keys.limit(_LOOKED_UP_KEYS + 1).collect()]
    if len(some) > _LOOKED_UP_KEYS:
        rows = read_lance(spark, uri, version=version, columns=columns, where=where)
        return rows.join(broadcast_few(keys, keys.count()), name, "left_semi")
    wanted = f"{name} IN ({', '.join(map(sql_text, some))})" if some else "false"
    both = f"({where}) AND {wanted}" if where else wanted
    return read_lance(spark, uri, version=version, columns=columns, where=both)


def delete_lance_keys(keys: DataFrame, count: int, table: Table) -> None:
    """Delete the rows with certain keys, in the run that prepared the table; few are looked up by Lance.

    Args:
        keys: One column, named like the table's string column; best persisted, because it has been counted.
        count: Rows of it.
        table: The table.
    """
    (name,) = keys.columns
    if count <= _LOOKED_UP_KEYS:
        table.delete_keys(name, [row[0] for row in keys.collect()] if count else [])
        return
    dataset = table.newest()
    uri, version = dataset.uri, dataset.version
    places = _scanned(keys.sparkSession, dataset, [name], None, with_address=True)
    found = places.join(broadcast_few(keys, count), name, "left_semi")
    gone = found.selectExpr(f"_rowaddr >> {OFFSET_BITS} AS fragment", f"_rowaddr & {2**OFFSET_BITS - 1} AS offset")

    def delete(rows: pa.Table) -> pa.Table:
        fragment_id = rows["fragment"][0].as_py()
        fragment = lance.dataset(uri, version=version).get_fragment(fragment_id)
        assert fragment is not None
        # Lance calls it internal: its version is pinned.
        left = fragment.delete_rows(rows["offset"].to_pylist())
        described = None if left is None else json.dumps(left.to_json())
        return pa.table({"fragment": [fragment_id], "left": pa.array([described], pa.string())})

    touched = gone.groupBy("fragment").applyInArrow(delete, "fragment long, left string").collect()
    if touched:
        left = [FragmentMetadata.from_json(row["left"]) for row in touched if row["left"]]
        emptied = [row["fragment"] for row in touched if not row["left"]]
        table.commit(lance.LanceOperation.Delete(left, emptied, f"{name} among {count} keys"), version)


def append_lance(frame: DataFrame, table: Table) -> None:
    """Append rows to a table in one commit of the run that prepared it; no rows, no commit."""
    dataset = table.newest()
    if fragments := _written(frame, dataset, "append"):
        table.commit(lance.LanceOperation.Append(fragments), dataset.version)


def replace_lance(frame: DataFrame, table: Table) -> None:
    """Put other rows in the place of all of a table, in one commit of the run that prepared it."""
    dataset = table.newest()
    fragments = _written(frame, dataset, "overwrite")
    table.commit(lance.LanceOperation.Overwrite(dataset.schema, fragments), dataset.version)


def _written(frame: DataFrame, dataset: lance.LanceDataset, mode: str) -> list[FragmentMetadata]:
    """Write rows as fragments that belong to no version yet."""
    uri, schema = dataset.uri, dataset.schema

    def write(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        filled = (batch.cast(schema) for batch in batches if batch.num_rows)
        first = next(filled, None)
        if first is None:
            return
        reader = pa.RecordBatchReader.from_batches(schema, chain([first], filled))
        written = write_fragments(reader, uri, mode=mode)
        assert isinstance(written, list)
        yield pa.RecordBatch.from_pydict({"fragment": [json.dumps(fragment.to_json()) for fragment in written]})

    rows = frame.mapInArrow(write, "fragment string").collect()
    return [FragmentMetadata.from_json(row["fragment"]) for row in rows]
