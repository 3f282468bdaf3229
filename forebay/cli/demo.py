"""`make demo`: documents to cited answers through every real part, with what it prints made for people."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from forebay.cli.ask import Gateway, print_answer
from forebay.errors import ForebayError, ReleaseError, ServiceError
from forebay.golden import GoldenQuestions
from forebay.releases import ReleaseManifest, ReleaseRegistry
from forebay.settings import PathSettings, ServingSettings
from forebay.tables import document_table

__all__ = ["main"]

_SAMPLE = Path("samples/cranfield")
_SAMPLE_QUESTIONS = ("13", "85", "197")
_READY_TIMEOUT_S = 900
_STOP_TIMEOUT_S = 30


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; gives its exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    corpus = Path(given[0]) if given else _SAMPLE
    if given and "FOREBAY_DATA" not in os.environ:
        # Your documents and the sample's don't mix.
        name = re.sub(r"[^a-z0-9]+", "-", corpus.absolute().name.lower()).strip("-") or "corpus"
        os.environ["FOREBAY_DATA"] = f".forebay/corpus-{name}"
    console = Console(highlight=False)
    started = time.monotonic()
    try:
        with _services(console) as url:
            console.rule("[bold]1. Pipeline: documents -> chunks -> embeddings -> shards -> release")
            console.print(f"[dim]{corpus} (the generator starts meanwhile)[/dim]")
            if subprocess.run(
                [sys.executable, "-m", "orchestration.run", "--source", str(corpus)], check=False
            ).returncode:
                return 1
            manifest = _current()
            console.rule("[bold]2. Services")
            _wait_until_ready(url, console)
            console.rule("[bold]3. Questions")
            _ask(url, _questions(corpus, manifest), console)
    except ForebayError as exc:
        console.print(f"[red]{exc}[/red]")
        return 1
    _summary(manifest, console, time.monotonic() - started)
    return 0


@contextmanager
def _services(console: Console) -> Generator[str]:
    """Start the services beside the pipeline, and stop them at the end."""
    serving, paths = ServingSettings(), PathSettings()
    log = paths.data.absolute() / "logs" / "services.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-m", "bentos.serve"], stdout=output, stderr=output)
    try:
        time.sleep(1)
        if process.poll() is not None:
            raise ServiceError(log.read_text("utf-8", "replace").strip() or "the services ended at once.")
        yield f"http://{serving.host}:{serving.port}"
    finally:
        with console.status("stopping the services"):
            process.terminate()
            try:
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _current() -> ReleaseManifest:
    manifest = ReleaseRegistry(PathSettings().releases).current()
    if manifest is None:
        raise ReleaseError("the pipeline ended without a release.")
    return manifest


def _wait_until_ready(url: str, console: Console) -> None:
    deadline = time.monotonic() + _READY_TIMEOUT_S
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("waiting for gateway, retriever and generator")
        while time.monotonic() < deadline:
            try:
                state = httpx.get(f"{url}/health", timeout=5)
                if state.is_success:
                    break
                progress.update(task, description=_waiting_for(state))
            except httpx.HTTPError:
                pass
            time.sleep(0.5)
        else:
            raise ServiceError(f"the services were not ready after {_READY_TIMEOUT_S} s; see the logs folder.")
    console.print(f"  [green]✓[/green] gateway, retriever and generator answer at {url}")


def _waiting_for(state: httpx.Response) -> str:
    try:
        problems = state.json()["problems"]
    except (ValueError, KeyError):
        problems = []
    return "; ".join(map(str, problems)) or "waiting for gateway, retriever and generator"


def _questions(corpus: Path, manifest: ReleaseManifest) -> list[str]:
    golden = PathSettings().data / "golden"
    if (golden / "queries.jsonl").exists():
        queries = GoldenQuestions.load(golden / "queries.jsonl", golden / "qrels.tsv").queries
        chosen = _SAMPLE_QUESTIONS if corpus == _SAMPLE else tuple(queries)[:3]
        return [queries[query_id] for query_id in chosen]
    table = document_table(PathSettings().tables).published()
    rows = [] if table is None else table.head(3, columns=["title"]).to_pylist()
    return [f"What does the corpus say about {row['title']}?" for row in rows]


def _ask(url: str, questions: list[str], console: Console) -> None:
    with Gateway(url) as gateway:
        for question in questions:
            console.print(f"\n[bold cyan]?[/bold cyan] [bold]{question}[/bold]")
            began = time.monotonic()
            print_answer(gateway.ask(question, stream=True), console)
            console.print(f"[dim]{time.monotonic() - began:.1f} s[/dim]")


def _summary(manifest: ReleaseManifest, console: Console, seconds: float) -> None:
    console.rule("[bold]Done")
    evaluation = manifest.evaluation
    console.print(
        f"Release {manifest.release_id}: {manifest.documents} documents, {manifest.chunks} chunks, "
        f"{len(manifest.shards)} shards."
    )
    if evaluation.ndcg10 is not None:
        console.print(
            f"On {evaluation.questions} golden questions: nDCG@10 [bold]{evaluation.ndcg10:.4f}[/bold], "
            f"recall@100 [bold]{evaluation.recall100:.4f}[/bold]."
        )
    data = os.environ.get("FOREBAY_DATA")
    prefix = f"FOREBAY_DATA={data} " if data else ""
    console.print(f"The whole way took {seconds:.0f} s.\n")
    console.print("Next:", markup=False)
    console.print(f"  {prefix}make dagster                          the asset graph, checks and runs in Dagster's UI")
    console.print(f"  {prefix}make serve                            keep the services up, then in another terminal:")
    console.print('  .venv/bin/forebay ask "your own question"')
    console.print(f"  quality reports: {PathSettings().quality}/*/index.html")


if __name__ == "__main__":
    sys.exit(main())
