"""The Java that Spark would run with; standard library only, for setup asks before anything is installed."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

__all__ = ["HOW_TO_GET_JAVA", "MINIMUM_JAVA", "Java", "find_java", "parse_java_version"]

MINIMUM_JAVA = 17
"""Oldest major version that Spark 4 runs with (Spark 4.0 release notes)."""
HOW_TO_GET_JAVA = (
    "Install one (Debian, Ubuntu: `sudo apt-get install openjdk-17-jre-headless`; Fedora: "
    "`sudo dnf install java-21-openjdk-headless`), or set JAVA_HOME to one that is there."
)


@dataclass(frozen=True)
class Java:
    """A Java that answered."""

    path: Path
    """The `java` program."""
    major: int
    """Major version: 8, 11, 17, ..."""


def find_java() -> Java | None:
    """Find the Java that Spark would start: JAVA_HOME's, else the PATH's; None where none answers."""
    home = os.environ.get("JAVA_HOME")
    program = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if program is None:
        return None
    try:
        answer = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    major = parse_java_version(answer.stderr + answer.stdout)
    return None if major is None else Java(Path(program), major)


def parse_java_version(text: str) -> int | None:
    """Read the major version out of what `java -version` prints; None where it names none.

    Up to Java 8 the major version is the second number (`1.8.0_292`).
    """
    match = re.search(r'version "(\d+)(?:\.(\d+))?', text)
    if match is None:
        return None
    first, second = int(match[1]), match[2]
    return int(second) if first == 1 and second else first
