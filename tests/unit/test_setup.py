import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted((ROOT / "locks").glob("*.txt"))


def load_script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


pip_settings = load_script("pip_settings")
lock = load_script("lock")
setup = load_script("setup")


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_lock_files_name_no_address_and_no_place(path: Path) -> None:
    text = path.read_text("utf-8")
    assert not re.search(r"[a-z+]+://|--index|--extra-index|--find-links|--trusted-host| @ |(^|\s)/", text)


def test_lock_files_are_all_there() -> None:
    names = {path.name for path in LOCKS}
    assert names == {"all-cpu.txt", "all-gpu.txt", "models.txt", "overrides.txt", "quantize.txt"}


def test_cpu_lock_pins_uv_and_the_cpu_build_of_torch_without_a_single_wheels_hash() -> None:
    text = (ROOT / "locks" / "all-cpu.txt").read_text("utf-8")
    assert re.search(r"(?m)^uv==\d", text)
    assert re.search(r"(?m)^torch==2\.13\.0\+cpu$", text)
    assert not re.search(r"(?m)^(torchvision|torchaudio|torchcodec|llama-cpp-python)==", text)


def test_every_other_pin_has_hashes() -> None:
    text = (ROOT / "locks" / "all-cpu.txt").read_text("utf-8")
    pins = re.findall(r"(?m)^(\S+==\S+)( \\)?$", text)
    assert len(pins) > 200
    assert [name for name, continued in pins if not continued] == ["torch==2.13.0+cpu"]


def test_only_the_hashes_of_cpu_builds_are_dropped() -> None:
    text = (
        "tomli==2.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:ab\n    # via x\n"
        "torch==2.13.0+cpu \\\n    --hash=sha256:bb\n    # via y\n"
    )
    expected = (
        "tomli==2.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:ab\n    # via x\ntorch==2.13.0+cpu\n    # via y\n"
    )
    assert lock.without_local_build_hashes(text) == expected


LISTING = """\
:env:.find-links='/somewhere /wheels'
global.cert='/etc/ca.pem'
global.extra-index-url='file:///not/there https://b.example/simple'
global.find-links='/elsewhere'
global.index-url="https://a.example/simple"
install.index-url='https://c.example/simple'
download.index-url='https://d.example/simple'
"""


def test_environment_wins_over_install_wins_over_global() -> None:
    merged = pip_settings.effective_settings(pip_settings.read_settings(LISTING))
    assert merged == {
        "find-links": "/somewhere /wheels",
        "cert": "/etc/ca.pem",
        "extra-index-url": "file:///not/there https://b.example/simple",
        "index-url": "https://c.example/simple",
    }


def test_lines_over_several_lines_become_several_places() -> None:
    settings = pip_settings.read_settings("global.extra-index-url='\\nhttps://a.example\\nhttps://b.example'")
    told = pip_settings.uv_environment(pip_settings.effective_settings(settings), {})
    assert told["UV_INDEX"] == "https://a.example https://b.example"


def test_uv_is_told_what_pip_knows(tmp_path: Path) -> None:
    wheels, absent = tmp_path / "wheels", tmp_path / "absent"
    wheels.mkdir()
    pip = {
        "index-url": "https://a.example/simple",
        "extra-index-url": f"{absent.as_uri()} https://b.example/simple",
        "find-links": f"{wheels} {absent} https://c.example/wheels",
        "trusted-host": "a.example b.example",
        "cert": "/etc/ca.pem",
    }
    assert pip_settings.uv_environment(pip, {}) == {
        "UV_DEFAULT_INDEX": "https://a.example/simple",
        "UV_INDEX": "https://b.example/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": f"{wheels},https://c.example/wheels",
        "UV_INSECURE_HOST": "a.example b.example",
        "SSL_CERT_FILE": "/etc/ca.pem",
    }


def test_what_the_user_told_uv_itself_wins() -> None:
    pip = {"index-url": "https://a.example/simple", "cert": "/etc/ca.pem"}
    environment = {"UV_DEFAULT_INDEX": "https://mine.example", "SSL_CERT_FILE": "/mine.pem"}
    assert pip_settings.uv_environment(pip, environment) == {}


@pytest.mark.parametrize(("value", "options"), [("true", ["--no-index"]), ("1", ["--no-index"]), ("no", [])])
def test_no_index_is_passed_on(value: str, options: list[str]) -> None:
    assert pip_settings.uv_options({"no-index": value}) == options


def test_a_changed_lock_file_is_another_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "LOCKS", tmp_path)
    path = tmp_path / "all-cpu.txt"
    path.write_text("a==1\n")
    first = setup._identity(["all-cpu.txt"], project=False)
    assert setup._identity(["all-cpu.txt"], project=False) == first
    path.write_text("a==2\n")
    assert setup._identity(["all-cpu.txt"], project=False) != first


def test_a_step_that_fails_says_what_was_printed_last(tmp_path: Path) -> None:
    steps = setup.Steps(tmp_path / "log")
    command = [sys.executable, "-c", "print('first'); raise SystemExit('no such package')"]
    with pytest.raises(setup.SetupError, match="no such package"):
        steps.run("packages", command, {})
    assert (tmp_path / "log").read_text() == "first\nno such package\n" or "first" in (tmp_path / "log").read_text()


@pytest.mark.parametrize(("status", "is_told"), [(0, False), (1, True)])
def test_what_spark_says_at_its_start_is_shown_only_where_the_class_archive_fails(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], status: int, is_told: bool
) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\n[ "$2" = forebay.cli.models ] && exit 0\necho "WARN noise" >&2\nexit {status}\n')
    python.chmod(0o755)
    setup._fill_model_cache(python)
    assert ("WARN noise" in capfd.readouterr().err) == is_told
