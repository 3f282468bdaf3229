import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

PROGRAM = """\
import os, sys
print(sys.argv[1:], os.environ.get("FOREBAY_CORPUS_NAME"), os.environ.get("DAGSTER_HOME"))
sys.exit(7)
"""


def run_forebay(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}",
        "FOREBAY_DATA": str(folder / "data"),
    }
    command = [sys.executable, "-m", "forebay.cli.main", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose packages stand in for the programs that the commands start."""
    for package, module in [
        ("orchestration", "run"),
        ("quality", "evaluate"),
        ("bentos", "serve"),
        ("dagster", "__main__"),
    ]:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
        (tmp_path / package / f"{module}.py").write_text(PROGRAM)
    return tmp_path


def test_ingest_starts_the_pipeline_and_passes_its_exit_status_on(folder: Path) -> None:
    done = run_forebay(folder, "ingest", "quality", "--corpus-name", "mine")
    assert done.returncode == 7
    assert done.stdout == f"['--source', '{folder / 'quality'}'] mine None\n"


def test_ingest_takes_several_sources(folder: Path) -> None:
    done = run_forebay(folder, "ingest", "quality", "s3://bucket/folder")
    assert done.stdout == f"['--source', '{folder / 'quality'}', '--source', 's3://bucket/folder'] None None\n"


def test_ingest_of_nothing_is_one_sentence(folder: Path) -> None:
    done = run_forebay(folder, "ingest", "absent")
    assert done.returncode == 1
    assert done.stderr == "there is no file or folder 'absent'.\n"


def test_eval_passes_its_options_on(folder: Path) -> None:
    done = run_forebay(folder, "eval", "--queries", "q.jsonl")
    assert (done.returncode, done.stdout) == (7, "['--queries', 'q.jsonl'] None None\n")


def test_serve_starts_the_services(folder: Path) -> None:
    assert run_forebay(folder, "serve").returncode == 7


def test_dagster_gets_its_home_in_the_data_folder(folder: Path) -> None:
    done = run_forebay(folder, "dagster", "--port", "3001")
    home = folder / "data" / "dagster"
    options = ["dev", "-m", "orchestration.definitions", "-h", "127.0.0.1", "-p", "3001"]
    assert done.stdout == f"{options} None {home}\n"
    assert home.is_dir()


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from forebay.cli.main import app; "
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0; "
        "heavy = {'torch', 'numpy', 'pyarrow', 'pydantic', 'httpx', 'qdrant_edge'} & set(sys.modules); "
        "sys.exit(str(sorted(heavy)) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
