import base64
import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from forebay.releases import Evaluation, ReleaseRegistry
from forebay.testing import HashEmbedder
from orchestration.release_history import markdown_history, plot_history
from tests.releases import cluster_release

_PICTURE = re.compile(r"!\[quality by release\]\(data:image/png;base64,([A-Za-z0-9+/=]+)\)")


@pytest.fixture
def listed(tmp_path):
    """Saves releases with these evaluations, one a day, in an order of no meaning; lists them as the registry does."""

    def made(evaluations):
        registry = ReleaseRegistry(tmp_path)
        for day, evaluation in sorted(enumerate(evaluations), key=lambda item: item[0] % 3):
            changes = {"evaluation": evaluation, "created_at": datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day)}
            registry.save(cluster_release(HashEmbedder(8), 3, f"content {day}").model_copy(update=changes))
        return registry.list()

    return made


def _rated(ndcg10, recall100, interval=None):
    intervals = {} if interval is None else {"ndcg10": interval}
    return Evaluation(questions=9, ndcg10=ndcg10, recall100=recall100, intervals=intervals)


def _axes(figure):
    figure.canvas.draw()
    return figure.axes[0]


def _names(axes):
    return [label.get_text() for label in axes.get_xticklabels()]


def test_figures_and_intervals_of_the_releases_stand_in_their_order(listed):
    releases = listed([_rated(0.4, 0.7, (0.3, 0.5)), _rated(0.5, 0.8), _rated(0.6, 0.75, (0.55, 0.65))])[::-1]
    axes = _axes(plot_history(releases))
    assert [list(line.get_ydata()) for line in axes.get_lines()] == [[0.4, 0.5, 0.6], [0.7, 0.8, 0.75]]
    assert _names(axes) == [release.release_id[:6] for release in releases]
    (band,) = axes.collections
    corners = {tuple(corner) for corner in band.get_paths()[0].vertices.tolist()}
    # A release without an interval has a band of no height.
    assert corners == {(0, 0.3), (0, 0.5), (1, 0.5), (2, 0.55), (2, 0.65)}
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "nDCG@10 with its 95% interval",
        "recall@100",
    ]
    assert axes.get_ylim() == (0, 1)


@pytest.mark.parametrize("releases", [1, 3, 8, 9, 30])
def test_names_of_releases_can_be_read_beside_each_other(listed, releases):
    axes = _axes(plot_history(listed([_rated(0.5, 0.8)] * releases)))
    places = [label.get_window_extent() for label in axes.get_xticklabels()]
    assert len(places) == releases
    assert all(left.x1 < right.x0 for left, right in pairwise(places))


def test_the_newest_that_were_evaluated_are_shown(listed, monkeypatch):
    shown = []

    def plot(rated):
        shown.extend(rated)
        return plot_history(rated)

    monkeypatch.setattr("orchestration.release_history.plot_history", plot)
    releases = listed([*[_rated(0.5, 0.8)] * 25, *[Evaluation(questions=0)] * 5, *[_rated(0.6, 0.9)] * 25])
    picture = base64.b64decode(_PICTURE.fullmatch(markdown_history(releases))[1])
    assert picture.startswith(b"\x89PNG")
    assert shown == [*releases[30:35][::-1], *releases[:25][::-1]]


def test_without_figures_it_is_said_what_is_missing(listed):
    assert "no golden questions" in markdown_history(listed([Evaluation(questions=0)] * 2))
    assert "no golden questions" in markdown_history([])
