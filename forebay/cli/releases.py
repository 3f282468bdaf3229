"""`forebay release`: what releases there are, and which one is searched."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.status import Status

    from forebay.releases import ReleaseManifest, ReleaseRegistry
    from forebay.settings import PathSettings

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="List releases, and choose the one that is searched.")


@app.command(name="list")
def list_releases() -> None:
    """Show all releases, newest first."""
    from rich.console import Console
    from rich.table import Table

    from forebay.canary.description import describe_canary, place_of

    paths = _paths()
    registry = _registry(paths)
    table = Table("release", "", "created", box=None, pad_edge=False)
    for name in ("documents", "chunks"):
        table.add_column(name, justify="right")
    table.add_column("model")
    for name in ("nDCG@10", "recall@100"):
        table.add_column(name, justify="right")
    for manifest in registry.list():
        table.add_row(
            manifest.release_id,
            place_of(manifest.release_id, paths),
            f"{manifest.created_at.astimezone():%Y-%m-%d %H:%M}",
            f"{manifest.documents:,}",
            f"{manifest.chunks:,}",
            manifest.embedding.model.removeprefix("package:"),
            _figure(manifest.evaluation.ndcg10),
            _figure(manifest.evaluation.recall100),
        )
    if table.row_count:
        Console().print(table)
    else:
        Console().print("There is no release yet; `forebay ingest PATH` makes one.")
    for line in describe_canary(paths):
        Console().print(line, soft_wrap=True)


@app.command()
def show(
    release_id: Annotated[str | None, typer.Argument(help="The current release if left out.")] = None,
) -> None:
    """Show everything that a release was made of."""
    from rich.console import Console
    from rich.table import Table

    from forebay.canary.description import place_of, trial_rows

    paths = _paths()
    manifest = _find(_registry(paths), release_id)
    table = Table(show_header=False, box=None, pad_edge=False)
    evaluation = manifest.evaluation
    place = place_of(manifest.release_id, paths)
    rows = {
        "release": manifest.release_id + (f" ({place})" if place else ""),
        "corpus": manifest.corpus,
        "created": f"{manifest.created_at.astimezone():%Y-%m-%d %H:%M:%S}",
        "documents": f"{manifest.documents:,}",
        "chunks": f"{manifest.chunks:,}",
        "embedding": manifest.embedding.model_dump_json(),
        "index": manifest.index.model_dump_json(),
        "reduction": manifest.reduction or "none",
        "tables": ", ".join(f"{name} version {version}" for name, version in manifest.table_versions.items()),
        "evaluation": f"{evaluation.questions} questions, nDCG@10 {_figure(evaluation.ndcg10)}, "
        f"MRR@10 {_figure(evaluation.mrr10)}, recall@100 {_figure(evaluation.recall100)}",
        **trial_rows(manifest.release_id, paths),
    }
    for name, value in rows.items():
        table.add_row(name, value)
    for shard in manifest.shards:
        place = f"{shard.bytes / 2**20:.1f} MiB, {shard.path}" if shard.path else "in Weaviate"
        table.add_row(f"shard {shard.number}", f"{shard.chunks:,} chunks, {place}")
    Console().print(table, soft_wrap=True)


@app.command()
def promote(
    release_id: Annotated[
        str | None,
        typer.Argument(help="Id of the release, as `forebay release list` shows it; the canary if left out."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Even where it is worse than the current release.")] = False,
) -> None:
    """Make a release the current one, after checking its evaluation and its shards; ends the canary, if any."""
    from forebay.canary.settling import promote_by_hand
    from forebay.canary.trials import CanaryRegistry
    from forebay.cli.configuration import load_settings
    from forebay.errors import ReleaseError
    from forebay.releases import worse_metrics
    from forebay.settings import ReleaseSettings

    paths = _paths()
    registry = _registry(paths)
    if release_id is None:
        canary = CanaryRegistry(paths.releases).current()
        if canary is None:
            raise ReleaseError("there is no canary; name the release, as `forebay release list` shows it.")
        release_id = canary.release_id
    manifest, current = registry.load(release_id), registry.current()
    if current is not None and not force:
        worse = worse_metrics(manifest.evaluation, current.evaluation, load_settings(ReleaseSettings).margin)
        if worse:
            raise ReleaseError(
                f"the release {release_id} is worse than the current one ({'; '.join(worse)}). "
                "`--force` promotes it all the same."
            )
    with _reading_shards():
        promote_by_hand(release_id, paths)
    typer.echo(f"{release_id} is the current release.")


@app.command()
def rollback() -> None:
    """End the canary; without one, go back to the release that was current before, or forward again.

    The shards of the release that was current before are checked first.
    """
    from forebay.canary.settling import reject_by_hand

    paths = _paths()
    registry = _registry(paths)
    if (ended := reject_by_hand(paths)) is not None:
        canary = ended.canary
        typer.echo(f"{canary.release_id} is no canary any more; {canary.against} is the current release, as before.")
        return
    with _reading_shards():
        release_id = registry.rollback(shards=paths.shards)
    typer.echo(f"{release_id} is the current release.")


@app.command()
def push(
    store: Annotated[str, typer.Argument(help="Where to: a folder, or an address such as s3://bucket/releases.")],
    release_id: Annotated[str | None, typer.Argument(help="The current release if left out.")] = None,
    promote: Annotated[bool, typer.Option("--promote", help="Make it what `pull` fetches by default.")] = False,
) -> None:
    """Send a release to an object store, only the blocks that it lacks; killed, it goes on."""
    from forebay.block_store import BlockStore
    from forebay.release_transfer import push as push_release

    paths = _paths()
    registry, shards = _registry(paths), paths.shards
    release_id = _find(registry, release_id).release_id
    result = push_release(registry, shards, release_id, BlockStore(store), is_current=promote, report=_say)
    typer.echo(
        f"{release_id} is in {store}: {result.moved_blocks:,} of {result.blocks:,} blocks sent, "
        f"{result.moved_bytes / 2**20:.1f} MiB."
    )


@app.command()
def pull(
    store: Annotated[str, typer.Argument(help="Where from: a folder, or an address such as s3://bucket/releases.")],
    release_id: Annotated[str | None, typer.Argument(help="The store's current release if left out.")] = None,
) -> None:
    """Fetch a release from an object store, only the blocks that are not here, and check every one."""
    from forebay.block_store import BlockStore
    from forebay.release_transfer import pull as pull_release

    paths = _paths()
    registry, shards = _registry(paths), paths.shards
    result = pull_release(registry, shards, release_id, BlockStore(store), report=_say)
    typer.echo(f"{result.release_id} is here; `forebay release promote {result.release_id}` makes it the current one.")


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _paths() -> "PathSettings":
    from forebay.cli.configuration import load_settings
    from forebay.settings import PathSettings

    return load_settings(PathSettings)


def _registry(paths: "PathSettings") -> "ReleaseRegistry":
    from forebay.releases import ReleaseRegistry

    return ReleaseRegistry(paths.releases)


def _find(registry: "ReleaseRegistry", release_id: str | None) -> "ReleaseManifest":
    from forebay.errors import ReleaseError

    manifest = registry.load(release_id) if release_id else registry.current()
    if manifest is None:
        raise ReleaseError("there is no current release; `forebay ingest PATH` makes one.")
    return manifest


def _reading_shards() -> "Status":
    from rich.console import Console

    return Console(stderr=True).status("Checking the shards' contents ...")


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
