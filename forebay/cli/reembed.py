"""What `forebay reembed --dry-run` prints."""

from rich.console import Console
from rich.table import Table

from forebay.embedding.reembedding import Cost

__all__ = ["print_cost"]


def print_cost(cost: Cost, console: Console) -> None:
    """Print the cost as a table, and what a run would do."""
    about = "" if cost.is_exact else "about "
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("model now", f"{cost.before.model} ({cost.before.engine} {cost.before.precision})")
    table.add_row("new model", f"{cost.spec.model} ({cost.spec.engine} {cost.spec.precision})")
    table.add_row("chunks", f"{about}{cost.chunks:,}")
    table.add_row("texts to embed", f"{about}{max(0, cost.texts - cost.known_texts):,} of {cost.texts:,}")
    table.add_row("tokens", f"{about}{cost.tokens:,}")
    table.add_row("rate", f"{cost.tokens_per_s:,.0f} tokens/s, measured here on a sample")
    table.add_row("time on this machine", f"{about}{cost.hours:,.2f} hours")
    table.add_row("vectors", f"{about}{_size(cost.vector_bytes)}")
    table.add_row("index of the new release", f"about {_size(cost.index_bytes)}")
    console.print(table)
    console.print(
        "Nothing was written. Without --dry-run the vectors and a new release are made beside the old one, which is "
        "searched until the new one has passed its evaluation; `forebay release rollback` goes back.",
        soft_wrap=True,
    )


def _size(n_bytes: float) -> str:
    for unit in ("bytes", "KB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.3g} TB"
