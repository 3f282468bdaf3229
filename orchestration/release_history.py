"""The quality of the releases over time, as a picture for Dagster's pages."""

import base64
import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from forebay.releases import ReleaseManifest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["markdown_history", "plot_history"]

# More would stand too close to each other to be read.
_SHOWN = 30
# More names beside each other would overlap.
_LEVEL_NAMES = 8


def markdown_history(manifests: Iterable[ReleaseManifest]) -> str:
    """Give the newest releases' figures as Markdown with an inline picture.

    Args:
        manifests: All releases, newest first; those that weren't evaluated are left out.
    """
    rated = [manifest for manifest in manifests if manifest.evaluation.ndcg10 is not None][:_SHOWN]
    if not rated:
        return "no release has been evaluated yet: the corpus has no golden questions"
    picture = io.BytesIO()
    plot_history(rated[::-1]).savefig(picture, format="png")
    return f"![quality by release](data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()})"


def plot_history(rated: Sequence[ReleaseManifest]) -> "Figure":
    """Plot the nDCG@10 with its interval, and the recall@100, of evaluated releases, in their order."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.add_subplot()
    places = range(len(rated))
    ndcg = [manifest.evaluation.ndcg10 or 0.0 for manifest in rated]
    (line,) = axes.plot(places, ndcg, "o-", label="nDCG@10 with its 95% interval")
    intervals = [manifest.evaluation.intervals.get("ndcg10") for manifest in rated]
    lows = [value if span is None else span[0] for value, span in zip(ndcg, intervals, strict=True)]
    highs = [value if span is None else span[1] for value, span in zip(ndcg, intervals, strict=True)]
    axes.fill_between(places, lows, highs, color=line.get_color(), alpha=0.2)
    axes.plot(places, [manifest.evaluation.recall100 or 0.0 for manifest in rated], "s-", label="recall@100")
    axes.set_ylim(0, 1)
    names = [manifest.release_id[:6] for manifest in rated]
    axes.set_xticks(places, names, rotation=0 if len(names) <= _LEVEL_NAMES else 90)
    axes.set_xlabel("release, oldest first")
    axes.legend()
    return figure
