from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from forebay.cli.main import app
from forebay.embedding.spec import EmbeddingSpec
from forebay.releases import Evaluation, ReleaseManifest, ReleaseRegistry
from forebay.settings import IndexSettings, PathSettings
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
