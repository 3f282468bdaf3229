"""Sets Forebay up in this folder: `.venv` from the lock files, the project itself, the model cache.

Run it as `make setup`; a second run sees that nothing changed and does nothing. It needs Python and its
standard library only. What the machine's pip configuration says (indexes, folders of wheels, certificates)
is told to uv, which installs the packages.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - people run this with whatever their `python3` is
    sys.exit(f"Forebay needs Python 3.11 or newer; this is {sys.version.split()[0]}. Try `make PYTHON=python3.12`.")

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import threading
import time
from collections import deque
from pathlib import Path

from pip_settings import effective_settings, read_settings, uv_environment, uv_options

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from forebay.java import HOW_TO_GET_JAVA, MINIMUM_JAVA, find_java  # noqa: E402 - the project isn't installed yet

LOCKS = ROOT / "locks"
PYTORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"


class SetupError(Exception):
    """Setup can't go on; the message says what to do."""


class Steps:
    """Shows each step with its seconds; keeps what the tools print in a log file."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._live = sys.stdout.isatty()

    def say(self, text: str) -> None:
        """Print a line at once."""
        print(text, flush=True)  # noqa: T201 - rich is not installed yet

    def run(self, title: str, command: list[str], environment: dict[str, str]) -> None:
        """Run a command under a title.

        Raises:
            SetupError: it failed; the message ends with what it printed last.
        """
        tail = self.attempt(title, command, environment)
        if tail is not None:
            raise SetupError(f"{title}: failed.\n{tail}\nThe whole output is in {self._log}.")

    def attempt(self, title: str, command: list[str], environment: dict[str, str]) -> str | None:
        """Run a command; None where it succeeded, else the end of what it printed."""
        started = time.monotonic()
        lines: deque[str] = deque(maxlen=25)
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with (
            self._log.open("a", encoding="utf-8") as log,
            subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            ) as process,
        ):
            finished = threading.Event()
            ticker = threading.Thread(target=self._tick, args=(title, started, lines, finished), daemon=True)
            ticker.start()
            for line in process.stdout or []:
                log.write(line)
                if line.strip():
                    lines.append(line.rstrip())
            code = process.wait()
            finished.set()
            ticker.join()
        outcome = "" if code == 0 else "  (failed)"
        self.say(f"{chr(13) if self._live else ''}  {title:<58}{time.monotonic() - started:7.1f} s{outcome:<20}")
        return None if code == 0 else "\n".join(lines)

    def _tick(self, title: str, started: float, lines: deque[str], finished: threading.Event) -> None:
        while self._live and not finished.wait(0.5):
            latest = lines[-1].strip()[:30] if lines else ""
            sys.stdout.write(f"\r  {title:<58}{time.monotonic() - started:7.1f} s  {latest:<30}")
            sys.stdout.flush()


def main() -> int:
    """Set up what is asked for, unless it is there already."""
    parser = argparse.ArgumentParser(description="Set Forebay up in this folder.")
    parser.add_argument("--variant", choices=["cpu", "gpu"], help="which vLLM; the first time cpu, then as before")
    parser.add_argument("--quantize", action="store_true", help="set up .venv-quantize, for the AWQ job, instead")
    parser.add_argument("--force", action="store_true", help="install again even where nothing changed")
    arguments = parser.parse_args()
    try:
        if arguments.quantize:
            set_up(ROOT / ".venv-quantize", ["quantize.txt"], force=arguments.force, whole=False)
        else:
            variant = arguments.variant or _variant_before(ROOT / ".venv")
            locks = [f"all-{variant}.txt", "models.txt"]
            set_up(ROOT / ".venv", locks, force=arguments.force, whole=True)
    except SetupError as exc:
        sys.stderr.write(f"\nsetup: {exc}\n")
        return 1
    return 0


def set_up(folder: Path, locks: list[str], *, force: bool, whole: bool) -> None:
    """Make one environment hold exactly what its locks say.

    Args:
        folder: The environment.
        locks: Names of lock files.
        force: Install even where the stamp says that nothing changed.
        whole: Install the project too, and fill the model cache.

    Raises:
        SetupError: a step failed.
    """
    stamp = folder / "forebay-setup.json"
    wanted = {"locks": locks, "hash": _identity(locks, project=whole)}
    python = folder / "bin" / "python"
    steps = Steps(folder / "forebay-setup.log")
    if force or _read(stamp) != wanted or not python.exists():
        _install(folder, locks, steps, whole=whole)
        staging = stamp.with_suffix(".part")
        staging.write_text(json.dumps(wanted), "utf-8")
        os.replace(staging, stamp)
    if whole:
        _fill_model_cache(python)


def _install(folder: Path, locks: list[str], steps: Steps, *, whole: bool) -> None:
    started = time.monotonic()
    steps.say(f"Setting up {folder.name} (Python {sys.version.split()[0]}):")
    if whole:
        _require_java()
    python = folder / "bin" / "python"
    environment = _clean_environment(folder)
    (folder / "forebay-setup.json").unlink(missing_ok=True)
    if not _is_environment_of_this_python(folder):
        _create(folder, steps, environment)
    uv_version = _pinned("uv", LOCKS / "all-cpu.txt")
    steps.run(f"uv {uv_version}", [str(python), "-m", "pip", "install", "--quiet", f"uv=={uv_version}"], environment)
    uv = [str(python), "-m", "uv", "pip"]
    pip = _pip_configuration(python, environment)
    environment.update(uv_environment(pip, environment))
    options = uv_options(pip)
    _install_torch([*uv, "install", "--no-deps", *options], locks, steps, environment)
    count = sum(len(_requirements(LOCKS / name)) for name in locks)
    # Bytecode: without it vLLM's import alone takes half a minute in each of its processes.
    paths = [str(LOCKS / name) for name in locks]
    steps.run(
        f"{count} packages, and their bytecode",
        [*uv, "sync", "--compile-bytecode", *options, *paths],
        environment,
    )
    if whole:
        # With the locked setuptools: no build environment, nothing fetched.
        editable = [*uv, "install", "--no-deps", "--no-build-isolation", "--editable", str(ROOT)]
        steps.run("forebay itself", editable, environment)
    steps.say(f"{folder.name} is ready after {time.monotonic() - started:.0f} s.")


def _create(folder: Path, steps: Steps, environment: dict[str, str]) -> None:
    try:
        steps.run("environment", [sys.executable, "-m", "venv", "--clear", str(folder)], environment)
    except SetupError as exc:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise SetupError(
            f"{exc}\nDebian and Ubuntu keep this apart: `sudo apt-get install python{version}-venv`."
        ) from exc


def _install_torch(install: list[str], locks: list[str], steps: Steps, environment: dict[str, str]) -> None:
    """Install torch first where the lock wants its CPU build, which PyPI doesn't have.

    The machine's own pip configuration is asked first. Only torch is ever taken from PyTorch's index.
    """
    torch = _pinned("torch", LOCKS / locks[0])
    if not torch.endswith("+cpu"):
        return
    command = [*install, f"torch=={torch}"]
    if steps.attempt(f"torch {torch}", command, environment) is None:
        return
    steps.run(
        f"torch {torch} from PyTorch's CPU index",
        [*command, "--default-index", PYTORCH_CPU_INDEX],
        environment,
    )


def _require_java() -> None:
    java = find_java()
    if java is None:
        raise SetupError(f"Spark needs Java {MINIMUM_JAVA} or newer, and there is none. {HOW_TO_GET_JAVA}")
    if java.major < MINIMUM_JAVA:
        raise SetupError(f"Spark needs Java {MINIMUM_JAVA} or newer; {java.path} is {java.major}. {HOW_TO_GET_JAVA}")


def _fill_model_cache(python: Path) -> None:
    """Let the project fill its model cache and check the checksums; it says what it does."""
    if subprocess.run([str(python), "-m", "forebay.cli.models"], cwd=ROOT, check=False).returncode:
        raise SetupError("the models are not ready; the sentence above says why.")
    # Only speed depends on it, so that a failure stops nothing. What Spark says at each start is of no use here.
    command = [str(python), "-m", "spark_jobs.class_archive"]
    archive = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False)
    if archive.returncode:
        sys.stderr.write(f"{archive.stderr}\nSpark starts without it, some seconds later each time.\n")


def _pip_configuration(python: Path, environment: dict[str, str]) -> dict[str, str]:
    command = [str(python), "-m", "pip", "config", "list"]
    listing = subprocess.run(command, capture_output=True, text=True, env=environment, check=False).stdout
    return effective_settings(read_settings(listing))


def _clean_environment(folder: Path) -> dict[str, str]:
    """Leave out what would point the tools at another environment, or stop the bytecode from being kept."""
    dropped = {
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONHOME",
        "PYTHONPATH",
        "CONDA_PREFIX",
        "UV_PROJECT_ENVIRONMENT",
    }
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return {**kept, "VIRTUAL_ENV": str(folder), "UV_NO_PROGRESS": "1"}


def _is_environment_of_this_python(folder: Path) -> bool:
    python = folder / "bin" / "python"
    if not python.exists() or shutil.which(str(python)) is None:
        return False
    question = [str(python), "-c", "import sys, pip; print(sys.version); print(sys.prefix)"]
    answer = subprocess.run(question, capture_output=True, text=True, check=False).stdout
    return answer == f"{sys.version}\n{folder}\n"


def _variant_before(folder: Path) -> str:
    before = _read(folder / "forebay-setup.json") or {}
    return "gpu" if "all-gpu.txt" in before.get("locks", []) else "cpu"


def _identity(locks: list[str], *, project: bool) -> str:
    """Hash everything that an environment follows from; its own place too, for scripts name it."""
    digest = hashlib.sha256(f"{sys.version}\n{ROOT}".encode())
    files = [LOCKS / name for name in locks] + ([ROOT / "pyproject.toml"] if project else [])
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _read(stamp: Path) -> dict[str, object] | None:
    try:
        return json.loads(stamp.read_text("utf-8"))
    except (OSError, ValueError):
        return None


def _requirements(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"(?m)^([A-Za-z0-9._-]+)==([^\s;\\]+)", lock.read_text("utf-8")))


def _pinned(name: str, lock: Path) -> str:
    versions = _requirements(lock)
    if name not in versions:
        raise SetupError(f"{lock} doesn't pin {name}. Run `make lock`.")
    return versions[name]


if __name__ == "__main__":
    sys.exit(main())
