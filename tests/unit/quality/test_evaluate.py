import json

import pytest

from forebay.golden import GoldenQuestions
from forebay.releases import ReleaseRegistry
from forebay.settings import PathSettings, ServingSettings
from forebay.testing import HashEmbedder
from quality.evaluate import evaluate_release, main
from tests.releases import build_release

_DOCUMENTS = [(f"d{n}", "", f"{'wing lift' if n % 2 else 'heat plate'} number{n} " * (n + 1), {}) for n in range(12)]
_QUESTION = "wing plate number3 lift"


@pytest.fixture
def current(tmp_path, monkeypatch):
    """A promoted release, with a golden question."""
    monkeypatch.setenv("FOREBAY_DATA", str(tmp_path))
    monkeypatch.setattr("quality.evaluate.load_embedder", lambda *_: HashEmbedder())
    paths = PathSettings()
    registry = ReleaseRegistry(paths.releases)
    manifest = registry.save(build_release(paths.shards, _DOCUMENTS, HashEmbedder()))
    registry.promote(manifest.release_id, shards=paths.shards)
    golden = tmp_path / "golden"
    golden.mkdir()
    (golden / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": _QUESTION}))
    (golden / "qrels.tsv").write_text("query\tdocument\tgrade\nq\td3\t1\n")
    return manifest


def test_a_release_is_measured_as_the_service_searches_it(current):
    golden = GoldenQuestions({"q": _QUESTION}, {"q": {"d3": 1}})

    def ways(**settings):
        figures = evaluate_release(current, golden, PathSettings(), ServingSettings(**settings))
        return {figure.search.partition(", ")[2] for figure in figures.values()}

    assert ways() == {""}
    assert ways(fusion="relative_score") == {"relative_score"}
    assert ways(fusion="relative_score", feedback=False) == {"no feedback, relative_score"}


def test_the_table_says_how_legs_were_joined(current, monkeypatch, capsys):
    assert main([]) == 0
    assert "legs joined by rrf" in " ".join(capsys.readouterr().out.split())
    monkeypatch.setenv("FOREBAY_SERVING_FUSION", "relative_score")
    assert main([]) == 0
    assert "legs joined by relative_score" in " ".join(capsys.readouterr().out.split())


def test_a_setting_that_does_not_fit_is_one_sentence(current, monkeypatch, capsys):
    monkeypatch.setenv("FOREBAY_SERVING_FUSION", "ranked")
    assert main([]) == 1
    assert "FOREBAY_SERVING_FUSION='ranked'" in " ".join(capsys.readouterr().err.split())
