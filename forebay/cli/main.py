"""The commands of `forebay`; what a command needs is imported inside it, so that `--help` answers at once."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from forebay.cli.programs import become
from forebay.cli.releases import app as release_app
from forebay.errors import ConfigurationError, ForebayError

__all__ = ["app"]


class _OneSentenceErrors(TyperGroup):
    """Shows Forebay's own errors as the sentences they are."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ForebayError as exc:
            from rich.console import Console

            Console(stderr=True).print(str(exc), style="red", markup=False, highlight=False, soft_wrap=True)
            raise typer.Exit(1) from exc


app = typer.Typer(
    cls=_OneSentenceErrors,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    help="Documents in, cited answers out. Settings are environment variables (FOREBAY_DATA, ...).",
)
app.add_typer(release_app, name="release")


@app.command()
def ingest(
    sources: Annotated[
        list[str], typer.Argument(help="Folders or files of documents, or addresses such as s3://bucket/folder.")
    ],
    corpus_name: Annotated[str | None, typer.Option(help="Name of the corpus; part of every chunk's id.")] = None,
) -> None:
    """Run the pipeline over documents, up to a new release."""
    options: list[str] = []
    for source in sources:
        if "://" not in source and not Path(source).exists():
            raise ConfigurationError(f"there is no file or folder {source!r}.")
        options += ["--source", source if "://" in source else str(Path(source).absolute())]
    become("orchestration.run", options, {"FOREBAY_CORPUS_NAME": corpus_name} if corpus_name else {})


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="The question, in quotes.")],
    url: Annotated[str | None, typer.Option(help="Address of the gateway; the configured one if left out.")] = None,
    stream: Annotated[bool, typer.Option("--stream/--no-stream", help="Print the answer as it comes.")] = True,
) -> None:
    """Ask the running gateway, and print the answer with its citations."""
    from forebay.cli.ask import Gateway, print_answer
    from forebay.cli.configuration import load_settings
    from forebay.settings import ServingSettings

    if url is None:
        serving = load_settings(ServingSettings)
        url = f"http://{serving.host}:{serving.port}"
    with Gateway(url) as gateway:
        print_answer(gateway.ask(question, stream=stream))


@app.command()
def reembed(
    model: Annotated[str, typer.Option(help="package:<name>, a folder, or a sentence-transformers hub name.")],
    engine: Annotated[str, typer.Option(help="What runs the model.")] = "auto",
    precision: Annotated[str, typer.Option(help="Arithmetic of the engine.")] = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what it would cost.")] = False,
) -> None:
    """Embed the corpus with another model, up to a new release beside the old one; killed, it goes on."""
    import os

    from rich.console import Console

    from forebay.cli.configuration import load_settings
    from forebay.cli.reembed import print_cost
    from forebay.embedding.reembedding import estimate, wanted_spec
    from forebay.settings import EmbeddingSettings, PathSettings

    named = str(Path(model).absolute()) if Path(model).is_dir() else model
    chosen = {
        "FOREBAY_EMBEDDING_MODEL": named,
        "FOREBAY_EMBEDDING_ENGINE": engine,
        "FOREBAY_EMBEDDING_PRECISION": precision,
    }
    os.environ.update(chosen)
    paths = load_settings(PathSettings)
    spec = wanted_spec(load_settings(EmbeddingSettings), paths)
    if dry_run:
        print_cost(estimate(spec, paths), Console())
        return
    become("orchestration.run", ["--reembed"], chosen)


@app.command(name="eval", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def evaluate(context: typer.Context) -> None:
    """Ask the corpus's golden questions and print nDCG@10 and recall@100 (options: `quality.evaluate -h`)."""
    become("quality.evaluate", context.args)


@app.command()
def explain(
    question: Annotated[str, typer.Argument(help="The question, in quotes.")],
    mode: Annotated[Literal["hybrid", "dense", "bm25"], typer.Option(help="Legs to use.")] = "hybrid",
    where: Annotated[str | None, typer.Option("--filter", help="Metadata filter, a JSON object.")] = None,
    top_k: Annotated[int, typer.Option(min=1, max=1000, help="Hits to show.")] = 5,
    release: Annotated[str | None, typer.Option(help="Release id; the current one if left out.")] = None,
) -> None:
    """Search a release and print what each leg found, how it was joined and reranked, and the time of each step."""
    from rich.console import Console

    from forebay.cli.configuration import load_settings
    from forebay.cli.explain import explain_question, print_explanation, read_filter
    from forebay.settings import PathSettings, ServingSettings
    from forebay.store.contract import SearchMode

    paths, serving, filters = load_settings(PathSettings), load_settings(ServingSettings), read_filter(where)
    found = explain_question(
        question, paths, release, mode=SearchMode(mode), top_k=top_k, where=filters, serving=serving
    )
    print_explanation(*found, top_k=top_k, console=Console())


@app.command()
def doctor() -> None:
    """Check this machine and this folder, and say what to do about what is wrong."""
    from rich.console import Console
    from rich.table import Table

    from forebay.doctor import Status, diagnose

    console = Console()
    with console.status("Looking ..."):
        results = diagnose()
    table = Table("", "check", "finding", "what to do", box=None, pad_edge=False)
    marks = {Status.OK: "[green]ok[/]", Status.WARN: "[yellow]warn[/]", Status.FAIL: "[red]fail[/]"}
    for result in results:
        table.add_row(marks[result.status], result.name, result.finding, result.advice)
    console.print(table)
    if any(result.status is Status.FAIL for result in results):
        raise typer.Exit(1)


@app.command()
def serve() -> None:
    """Serve the current release until Ctrl-C."""
    become("bentos.serve")


@app.command()
def dagster(
    port: Annotated[int, typer.Option(help="Port of the page.")] = 3000,
) -> None:
    """Open Dagster's web page on the pipeline, at http://127.0.0.1:3000."""
    from forebay.cli.configuration import load_settings
    from forebay.dagster_home import prepare_dagster_home
    from forebay.settings import PathSettings

    home = prepare_dagster_home(load_settings(PathSettings))
    arguments = ["dev", "-m", "orchestration.definitions", "-h", "127.0.0.1", "-p", str(port)]
    become("dagster", arguments, {"DAGSTER_HOME": str(home)})


@app.command()
def demo(
    corpus: Annotated[Path | None, typer.Argument(help="Your own documents; the sample corpus if left out.")] = None,
) -> None:
    """Go the whole way: ingest, serve, ask, show the figures."""
    become("forebay.cli.demo", [str(corpus.absolute())] if corpus else [])


@app.command()
def quantize(
    calibration: Annotated[Path, typer.Option(help="Texts to calibrate with.")] = Path(
        "samples/cranfield/corpus.jsonl"
    ),
) -> None:
    """Make and check the AWQ checkpoint of the generation model; minutes."""
    from forebay.cli.configuration import load_settings
    from forebay.cli.quantize import run
    from forebay.settings import GeneratorSettings, PathSettings

    raise typer.Exit(run(load_settings(GeneratorSettings), load_settings(PathSettings), calibration))


if __name__ == "__main__":
    sys.exit(app())
