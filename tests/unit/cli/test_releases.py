from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from forebay.canary.observations import Observation
from forebay.canary.settling import Place, introduce
from forebay.canary.trials import Canary, CanaryRegistry
from forebay.cli.main import app
from forebay.embedding.spec import EmbeddingSpec
from forebay.releases import Evaluation, ReleaseManifest, ReleaseRegistry
from forebay.settings import IndexSettings, PathSettings, ReleaseSettings
from tests.releases import seal_shard

runner = CliRunner(env={"COLUMNS": "200"})


@dataclass(frozen=True)
class DataFolder:
    paths: PathSettings
    registry: ReleaseRegistry

    def release(self, content: str, ndcg10: float, *, day: int) -> ReleaseManifest:
        manifest = ReleaseManifest(
            corpus="test",
            embedding=EmbeddingSpec(model="package:tiny", revision="c0ffee", dim=4, max_tokens=16, precision="fp32"),
            index=IndexSettings(),
            shards=(seal_shard(self.paths.shards, content),),
            documents=7,
            table_versions={"documents": 3},
            evaluation=Evaluation(questions=5, ndcg10=ndcg10, recall100=0.8, questions_hash="q"),
            created_at=datetime(2026, 1, day, tzinfo=UTC),
        )
        return self.registry.save(manifest)

    def promote(self, manifest: ReleaseManifest) -> None:
        self.registry.promote(manifest.release_id, shards=self.paths.shards)

    def try_out(self, manifest: ReleaseManifest) -> Canary:
        """Make it the canary."""
        settings = ReleaseSettings(canary_share=0.1, canary_hours=1)
        assert introduce(manifest.release_id, self.paths, settings) is Place.CANARY
        canary = CanaryRegistry(self.paths.releases).current()
        assert canary is not None
        return canary

    def change_a_byte(self, content: str) -> None:
        segment = self.paths.shards / "s000" / content / "segment"
        segment.write_bytes(b"x" + segment.read_bytes()[1:])


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataFolder:
    monkeypatch.setenv("FOREBAY_DATA", str(tmp_path))
    paths = PathSettings()
    return DataFolder(paths, ReleaseRegistry(paths.releases))


def test_list_without_releases_says_how_to_make_one(data: DataFolder) -> None:
    result = runner.invoke(app, ["release", "list"])
    assert result.exit_code == 0
    assert "forebay ingest PATH" in result.stdout


def test_list_shows_all_and_marks_the_current_one(data: DataFolder) -> None:
    old, new = data.release("aa", 0.41, day=1), data.release("bb", 0.42, day=2)
    data.promote(old)
    lines = runner.invoke(app, ["release", "list"]).stdout.splitlines()
    rows = [line.split() for line in lines[1:] if line.strip()]
    assert [row[0] for row in rows] == [new.release_id, old.release_id]
    assert ["current" in row for row in rows] == [False, True]
    assert rows[0][-5:] == ["7", "12", "tiny", "0.4200", "0.8000"]


def test_show_tells_what_a_release_was_made_of(data: DataFolder) -> None:
    manifest = data.release("aa", 0.41, day=1)
    result = runner.invoke(app, ["release", "show", manifest.release_id])
    assert "documents version 3" in result.stdout
    assert ["reduction", "none"] in [line.split() for line in result.stdout.splitlines()]
    assert "s000/aa" in result.stdout


def test_show_without_a_current_release_is_one_sentence(data: DataFolder) -> None:
    result = runner.invoke(app, ["release", "show"])
    assert result.exit_code == 1
    assert result.stderr == "there is no current release; `forebay ingest PATH` makes one.\n"


def test_promote_and_rollback_move_the_pointer(data: DataFolder) -> None:
    old, new = data.release("aa", 0.41, day=1), data.release("bb", 0.42, day=2)
    assert runner.invoke(app, ["release", "promote", old.release_id]).exit_code == 0
    assert runner.invoke(app, ["release", "promote", new.release_id]).exit_code == 0
    assert data.registry.current_id() == new.release_id
    assert runner.invoke(app, ["release", "rollback"]).exit_code == 0
    assert data.registry.current_id() == old.release_id


def test_promote_refuses_a_worse_release_unless_forced(data: DataFolder) -> None:
    good, bad = data.release("aa", 0.41, day=1), data.release("bb", 0.30, day=2)
    data.promote(good)
    refused = runner.invoke(app, ["release", "promote", bad.release_id])
    assert refused.exit_code == 1
    assert "ndcg10 0.3000 against 0.4100" in refused.stderr
    assert data.registry.current_id() == good.release_id
    assert runner.invoke(app, ["release", "promote", bad.release_id, "--force"]).exit_code == 0
    assert data.registry.current_id() == bad.release_id


def test_promote_refuses_a_shard_with_one_changed_byte_even_when_forced(data: DataFolder) -> None:
    manifest = data.release("aa", 0.41, day=1)
    data.change_a_byte("aa")
    result = runner.invoke(app, ["release", "promote", manifest.release_id, "--force"])
    assert result.exit_code == 1
    assert "doesn't match its checksum" in result.stderr
    assert data.registry.current_id() is None


def test_rollback_refuses_a_shard_with_one_changed_byte_and_says_what_to_do(data: DataFolder) -> None:
    old, new = data.release("aa", 0.41, day=1), data.release("bb", 0.42, day=2)
    data.promote(old)
    data.promote(new)
    data.change_a_byte("aa")
    result = runner.invoke(app, ["release", "rollback"])
    assert result.exit_code == 1
    assert f"the release {old.release_id} is damaged, so {new.release_id} stays the current one" in result.stderr
    assert "doesn't match its checksum" in result.stderr
    assert "`forebay release list` shows which others there are" in result.stderr
    assert (data.registry.current_id(), data.registry.previous_id()) == (new.release_id, old.release_id)


def test_an_unknown_release_is_one_sentence(data: DataFolder) -> None:
    result = runner.invoke(app, ["release", "promote", "nonsense"])
    assert result.exit_code == 1
    assert "there is no release 'nonsense'" in result.stderr
    assert "Traceback" not in result.output


def test_a_setting_that_does_not_fit_is_one_sentence(data: DataFolder) -> None:
    manifest = data.release("aa", 0.41, day=1)
    data.promote(data.release("bb", 0.41, day=2))
    result = runner.invoke(app, ["release", "promote", manifest.release_id], env={"FOREBAY_RELEASE_MARGIN": "much"})
    assert result.exit_code == 1
    assert "FOREBAY_RELEASE_MARGIN='much'" in result.stderr


@pytest.fixture
def tried(data: DataFolder) -> Canary:
    """The canary `bb` beside the current release `aa`, and one search that was compared."""
    data.promote(data.release("aa", 0.41, day=1))
    canary = data.try_out(data.release("bb", 0.42, day=2))
    seen = Observation(question="1", poor=(True, False), ms=(4.0, 3.0), similarity=(0.2, 0.7), overlap10=0.5)
    CanaryRegistry(data.paths.releases).note(canary, seen)
    return canary


def test_list_and_show_tell_how_the_canary_does(data: DataFolder, tried: Canary) -> None:
    listed = runner.invoke(app, ["release", "list"]).stdout
    assert [line.split()[1:3] for line in listed.splitlines()[1:3]] == [["canary,", "10%"], ["current", "2026-01-01"]]
    for text in (listed, runner.invoke(app, ["release", "show", tried.release_id]).stdout):
        assert "1 of 500 searches compared, and none of them decides (wait)" in text
        assert "nothing near enough: 1 against 0 (1 and 0 alone)" in text
        assert "latency p95: 4.0 ms (- to -) against 3.0 ms (- to -)" in text
        assert "mean similarity: 0.200 against 0.700" in text
        assert "overlap@10: 0.500" in text
        assert "overdue" not in text
    late = tried.model_copy(update={"began_at": tried.began_at - timedelta(hours=2)})
    CanaryRegistry(data.paths.releases).write(late)
    assert "overdue after 1 hours" in runner.invoke(app, ["release", "list"]).stdout


def test_promote_without_an_id_makes_the_canary_the_current_release(data: DataFolder, tried: Canary) -> None:
    result = runner.invoke(app, ["release", "promote"])
    assert result.stdout == f"{tried.release_id} is the current release.\n"
    assert (data.registry.current_id(), data.registry.previous_id()) == (tried.release_id, tried.against)
    assert "promoted by hand" in runner.invoke(app, ["release", "show"]).stdout
    again = runner.invoke(app, ["release", "promote"])
    assert again.exit_code == 1
    assert "there is no canary" in again.stderr


def test_rollback_ends_the_canary_first(data: DataFolder, tried: Canary) -> None:
    result = runner.invoke(app, ["release", "rollback"])
    assert f"{tried.release_id} is no canary any more; {tried.against} is the current release" in result.stdout
    assert data.registry.current_id() == tried.against
    assert [line.split()[1] for line in runner.invoke(app, ["release", "list"]).stdout.splitlines()[1:]] == [
        "rolled",
        "current",
    ]
    shown = runner.invoke(app, ["release", "show", tried.release_id]).stdout
    assert "rolled back by hand" in shown
    assert "nothing near enough: 1 against 0" in shown
    assert runner.invoke(app, ["release", "rollback"]).exit_code == 1


def test_promoting_another_release_ends_the_canary(data: DataFolder, tried: Canary) -> None:
    other = data.release("cc", 0.42, day=3)
    assert runner.invoke(app, ["release", "promote", other.release_id]).exit_code == 0
    assert data.registry.current_id() == other.release_id
    data.promote(data.registry.load(tried.against))
    assert CanaryRegistry(data.paths.releases).current() is None
