"""What a corpus of N documents needs: executors, cores, memory, shards, hours and storage, from measured rates.

`python benchmarks/sizing.py` prints the table and writes it into docs/sizing.md, where the formulas stand.
The rates are in benchmarks/rates.json and come from benchmark runs; while one of them is missing, nothing is computed.
"""

import argparse
import json
import math
import re
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RATES = ROOT / "benchmarks" / "rates.json"
PAGE = ROOT / "docs" / "sizing.md"
BEGIN, END = "<!-- sizing: begin -->", "<!-- sizing: end -->"
MAX_SHARDS = 4096
"""`CorpusSettings.shards` allows no more."""
_BYTES = "bytes_per_doc_"
# Part of a worker's memory that its shard may take. Decided, not measured: Java and Arrow want some outside the heap.
_FILLED = 0.75
# What a task of a shuffle takes. Decided, not measured: a task sorts it in memory, or in few pieces.
_PARTITION_BYTES = 2**28


class MissingRateError(Exception):
    """A rate has not been measured."""


@dataclass(frozen=True)
class Rates:
    """What was measured, on one machine."""

    docs_per_s_core: float
    """Documents parsed, checked and cut, per second and core."""
    texts_per_s_core: float
    """Chunks embedded, per second and core."""
    chunks_per_doc: float
    index_chunks_per_s_core: float
    """Chunks put into index shards, per second and core."""
    index_bytes_per_chunk: float
    index_build_bytes_per_chunk: float
    """Memory of the process that builds a shard, by its chunks."""
    bytes_per_doc: dict[str, float]
    """Size on disk by table."""
    parallel_efficiency: float
    """Rate of a core while all work, as a share of its rate alone."""
    machine: str

    @classmethod
    def read(cls, path: Path) -> "Rates":
        """Read the file.

        Raises:
            MissingRateError: a rate is null or isn't there.
        """
        found = json.loads(path.read_text("utf-8"))
        needed = [name for name in cls.__dataclass_fields__ if name != "bytes_per_doc"]
        missing = [name for name in needed if found.get(name) is None]
        sizes = {name.removeprefix(_BYTES): size for name, size in found.items() if name.startswith(_BYTES)}
        missing += [_BYTES + name for name, size in sizes.items() if size is None]
        if missing or not sizes:
            raise MissingRateError(
                f"{path.name} lacks {', '.join(missing) or _BYTES + '*'}; measure them with the benchmarks and write "
                "them down there. Nothing is computed from guesses."
            )
        return cls(**{name: found[name] for name in needed}, bytes_per_doc=sizes)


@dataclass(frozen=True)
class Plan:
    """What is decided, not measured."""

    documents: int = 100_000_000
    hours: float = 24.0
    """Time that a whole build may take."""
    executor_cores: int = 4
    executor_gib: float = 12.0
    """Memory of an executor's pod: JVM and Python workers (`LaunchSettings`)."""
    workers_gib: float = 8.0
    """The part of it that the Python workers of its tasks share (`FOREBAY_LAUNCH_EXECUTOR_MEMORY_OVERHEAD`)."""
    releases: int = 2
    """Releases on disk: the current one and the one before."""


@dataclass(frozen=True)
class Sizing:
    """What the plan needs."""

    chunks: int
    executors: int
    cores: int
    memory_gib: float
    shards: int
    shuffle_partitions: int
    hours: dict[str, float]
    """Duration by stage."""
    bytes: dict[str, float]
    """Storage by table, and of one release's index."""
    total_bytes: float
    """With the releases that are kept."""


def size(rates: Rates, plan: Plan) -> Sizing:
    """Compute; see docs/sizing.md for the formulas.

    Raises:
        ValueError: the plan contradicts itself, or needs too many shards.
    """
    chunks = math.ceil(plan.documents * rates.chunks_per_doc)
    core_s = {
        "documents and chunks": plan.documents / rates.docs_per_s_core,
        "embeddings": chunks / rates.texts_per_s_core,
        "index": chunks / rates.index_chunks_per_s_core,
    }
    executor_rate = plan.executor_cores * rates.parallel_efficiency
    executors = math.ceil(sum(core_s.values()) / (3600 * plan.hours * executor_rate))
    cores = executors * plan.executor_cores
    if not 0 < plan.workers_gib <= plan.executor_gib:
        raise ValueError("--workers-gib is a part of --executor-gib: more than 0, and no more than all of it.")
    task_bytes = _FILLED * plan.workers_gib * 2**30 / plan.executor_cores
    shards = shard_count(chunks, cores, int(task_bytes / rates.index_build_bytes_per_chunk))
    hours = {stage: seconds / (executors * executor_rate) / 3600 for stage, seconds in core_s.items()}
    # A shard is built by one core: the last round may leave others without work.
    hours["index"] *= math.ceil(shards / cores) * cores / shards
    tables = {name: size * plan.documents for name, size in rates.bytes_per_doc.items()}
    index = rates.index_bytes_per_chunk * chunks
    return Sizing(
        chunks=chunks,
        executors=executors,
        cores=cores,
        memory_gib=executors * plan.executor_gib,
        shards=shards,
        # The largest shuffle brings vectors to their texts.
        shuffle_partitions=max(cores, math.ceil((tables["chunks"] + tables["embeddings"]) / _PARTITION_BYTES)),
        hours=hours,
        bytes={**tables, "index": index},
        total_bytes=sum(tables.values()) + plan.releases * index,
    )


def shard_count(chunks: int, cores: int, chunks_per_shard: int) -> int:
    """Give the smallest power of two that keeps every core at work and every shard small enough to be built.

    Raises:
        ValueError: it would be more shards than a corpus can have.
    """
    wanted = max(1, cores, math.ceil(chunks / chunks_per_shard))
    shards = 2 ** math.ceil(math.log2(wanted))
    if shards > MAX_SHARDS:
        raise ValueError(
            f"{shards} shards are more than the {MAX_SHARDS} that a corpus can have; allow more hours or more memory."
        )
    return shards


def table(rates: Rates, plan: Plan, sizing: Sizing) -> str:
    """Write the result as Markdown."""
    rows = [
        ("documents", f"{plan.documents:,}"),
        ("chunks", f"{sizing.chunks:,}"),
        ("executors", f"{sizing.executors:,} of {plan.executor_cores} cores and {plan.executor_gib:g} GiB"),
        ("cores", f"{sizing.cores:,}"),
        ("memory of the executors", f"{sizing.memory_gib:,.0f} GiB"),
        ("shards (`FOREBAY_CORPUS_SHARDS`)", f"{sizing.shards:,}"),
        ("partitions of a shuffle (`spark.sql.shuffle.partitions`)", f"{sizing.shuffle_partitions:,}"),
        *((f"hours: {stage}", f"{hours:.1f}") for stage, hours in sizing.hours.items()),
        ("hours: all", f"{sum(sizing.hours.values()):.1f}"),
        *((f"storage: {name}", _tib(size)) for name, size in sizing.bytes.items()),
        (f"storage: all, with {plan.releases} releases", _tib(sizing.total_bytes)),
    ]
    lines = ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
    return "\n".join([*lines, "", f"Rates measured on: {rates.machine}."])


def _tib(size_bytes: float) -> str:
    return f"{size_bytes / 2**40:,.2f} TiB"


def write_section(page: Path, text: str) -> None:
    """Replace what stands between the markers of a page.

    Raises:
        ValueError: the page has no markers.
    """
    before = page.read_text("utf-8")
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    if not pattern.search(before):
        raise ValueError(f"{page} has no section between {BEGIN} and {END}.")
    page.write_text(pattern.sub(lambda _: f"{BEGIN}\n{text}\n{END}", before), "utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Print the table and write it into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, field in Plan.__dataclass_fields__.items():
        kind = float if isinstance(field.default, float) else int
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=field.default)
    plan = Plan(**vars(parser.parse_args(arguments)))
    try:
        rates = Rates.read(RATES)
        text = table(rates, plan, size(rates, plan))
        write_section(PAGE, text)
    except (MissingRateError, ValueError) as exc:
        print(exc, file=sys.stderr)
        return 1
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
