import pytest

from forebay.golden import GoldenQuestions
from forebay.releases import ReleaseRegistry
from forebay.settings import PathSettings, ServingSettings
from quality.evaluate import evaluate_release, main
from tests.cross_encoder import write_cross_encoder
from tests.plain_model import plain_embedder
from tests.releases import build_release

_DOCUMENTS = [
    ("wing", "", "the lift of a wing grows with its angle", {}),
    ("plate", "", "heat flows through a plate of steel", {}),
    ("gate", "", "the gate of the forebay opens at three metres", {}),
]
_QUERIES = {"q1": "lift of a wing", "q2": "heat of a plate", "q3": "nobody judged this", "q4": "a door"}
_HEADER = "q\td\ts\n"


@pytest.fixture(scope="module")
def embedder():
    return plain_embedder()


@pytest.fixture
def paths(tmp_path, monkeypatch):
    monkeypatch.setenv("FOREBAY_DATA", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "120")
    return PathSettings()


@pytest.fixture
def golden(paths):
    """Writes judgements beside the questions."""
    folder = paths.data / "golden"
    folder.mkdir()
    lines = [f'{{"_id": "{name}", "text": "{text}"}}' for name, text in _QUERIES.items()]
    (folder / "queries.jsonl").write_text("\n".join(lines))

    def write(judgements, name="qrels.tsv"):
        rows = [f"{question}\t{document}\t1" for question, document in judgements.items()]
        (folder / name).write_text(_HEADER + "\n".join(rows))
        return folder / name

    return write


@pytest.fixture
def make(paths, embedder):
    registry = ReleaseRegistry(paths.releases)

    def made(documents):
        manifest = registry.save(build_release(paths.shards, documents, embedder, shards=1))
        registry.promote(manifest.release_id, shards=paths.shards)
        return manifest.release_id

    return made


def _rows(printed):
    """Read the table: figures by name of the search."""
    lines = [[cell.strip() for cell in line.strip("│ ").split("│")] for line in printed.splitlines() if "│" in line]
    return {name: [cell.split(" ")[0] for cell in cells] for name, *cells in lines}


def test_the_current_release_is_measured_in_every_mode_by_its_judged_questions(paths, golden, make, capsys):
    # The second question's document isn't in the release: it counts as nothing found.
    golden({"q1": "wing", "q2": "gone"})
    release_id = make(_DOCUMENTS)
    assert main([]) == 0
    printed = capsys.readouterr().out
    assert f"release {release_id}" in printed
    assert "2 questions" in printed
    half = ["0.5000"] * 3
    assert _rows(printed) == {"hybrid": half, "dense": half, "bm25": half}
    # Nothing of it is written down: that is the pipeline's.
    assert ReleaseRegistry(paths.releases).current().evaluation.questions == 0


def test_each_mode_finds_what_only_it_can(golden, make, capsys):
    # No word of the question is in its document.
    golden({"q4": "gate"})
    make(_DOCUMENTS)
    assert main([]) == 0
    rows = _rows(capsys.readouterr().out)
    assert [rows[mode][2] for mode in ("hybrid", "dense", "bm25")] == ["1.0000", "1.0000", "0.0000"]


def test_another_release_and_other_judgements_can_be_named(golden, make, capsys):
    golden({"q1": "wing", "q2": "gone"})
    older = make(_DOCUMENTS)
    newer = make(_DOCUMENTS[1:])
    other = golden({"q1": "wing", "q2": "plate"}, "other.tsv")
    assert main(["--qrels", str(other)]) == 0
    printed = capsys.readouterr().out
    assert (newer in printed, _rows(printed)["dense"]) == (True, ["0.5000"] * 3)
    assert main(["--qrels", str(other), "--release", older]) == 0
    printed = capsys.readouterr().out
    assert (older in printed, _rows(printed)["dense"]) == (True, ["1.0000"] * 3)


def test_a_reranker_of_the_settings_is_measured_too(golden, make, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("FOREBAY_SERVING_RERANKER", str(write_cross_encoder(tmp_path / "reranker")))
    golden({"q1": "wing"})
    make(_DOCUMENTS)
    assert main([]) == 0
    rows = _rows(capsys.readouterr().out)
    assert list(rows) == ["hybrid", "dense", "bm25", "hybrid, reranked"]
    # It orders hits, and loses none.
    assert rows["hybrid, reranked"][2] == "1.0000"


@pytest.mark.parametrize(
    ("arguments", "promoted", "problem"),
    [
        ([], False, "there is no release yet; run `forebay ingest PATH` first"),
        (["--release", "0123456789abcdef"], True, "there is no release '0123456789abcdef'"),
        (["--qrels", "nowhere.tsv"], True, "the golden questions need the file nowhere.tsv"),
    ],
)
def test_what_is_missing_is_one_sentence(golden, make, capsys, arguments, promoted, problem):
    golden({"q1": "wing"})
    if promoted:
        make(_DOCUMENTS)
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert problem in " ".join(captured.err.split())
    assert captured.out == ""


def test_a_release_is_measured_as_the_service_searches_it(paths, make):
    make(_DOCUMENTS)
    questions = GoldenQuestions({"q1": _QUERIES["q1"]}, {"q1": {"wing": 1}})
    current = ReleaseRegistry(paths.releases).current()

    def ways(**settings):
        figures = evaluate_release(current, questions, paths, ServingSettings(**settings))
        return {figure.search.partition(", ")[2] for figure in figures.values()}

    assert ways() == {""}
    assert ways(fusion="relative_score") == {"relative_score"}
    assert ways(fusion="relative_score", feedback=False) == {"no feedback, relative_score"}


def test_the_table_says_how_legs_were_joined(golden, make, monkeypatch, capsys):
    golden({"q1": "wing"})
    make(_DOCUMENTS)
    assert main([]) == 0
    assert "legs joined by rrf" in " ".join(capsys.readouterr().out.split())
    monkeypatch.setenv("FOREBAY_SERVING_FUSION", "relative_score")
    assert main([]) == 0
    assert "legs joined by relative_score" in " ".join(capsys.readouterr().out.split())


def test_a_setting_that_does_not_fit_is_one_sentence(golden, make, monkeypatch, capsys):
    golden({"q1": "wing"})
    make(_DOCUMENTS)
    monkeypatch.setenv("FOREBAY_SERVING_FUSION", "ranked")
    assert main([]) == 1
    assert "FOREBAY_SERVING_FUSION='ranked'" in " ".join(capsys.readouterr().err.split())
