"""Texts that lie on every machine with this environment: what installed packages say about themselves."""

import ast
import warnings
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import sklearn

__all__ = ["installed_texts"]

_SYSTEM = Path("/usr/share/doc")
_FORMATS = {".md": "markdown", ".rst": "text", ".txt": "text"}
_LEAST_CHARS = 200
# Longer files are word lists and bundles of licences; one of them would weigh as much as a package.
_MOST_CHARS = 200_000
_LEAST_WORDY = 0.75


def installed_texts() -> Iterator[tuple[str, str, str, str]]:
    """Give place, title, text and format of pages of the system and of Python packages, then of docstrings."""
    packages = Path(sklearn.__file__).parent.parent
    # A package's .txt files are data as often as they are prose.
    pages = chain(_pages(_SYSTEM, (".md", ".rst", ".txt")), _pages(packages, (".md", ".rst")))
    return chain(pages, _docstrings(packages))


def _pages(folder: Path, endings: tuple[str, ...]) -> Iterator[tuple[str, str, str, str]]:
    for path in sorted(path for path in folder.rglob("*") if path.suffix in endings and path.is_file()):
        text = path.read_text("utf-8", "replace")
        if "license" not in path.name.lower() and _LEAST_CHARS <= len(text) <= _MOST_CHARS and _is_wordy(text):
            yield str(path), path.stem, text, _FORMATS[path.suffix]


def _is_wordy(text: str) -> bool:
    return sum(character.isalpha() or character == " " for character in text) >= _LEAST_WORDY * len(text)


def _docstrings(folder: Path) -> Iterator[tuple[str, str, str, str]]:
    for path in sorted(folder.rglob("*.py")):
        try:
            with warnings.catch_warnings():
                # Other people's invalid escapes.
                warnings.simplefilter("ignore")
                tree = ast.parse(path.read_text("utf-8"))
        except (SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node) or ""
                if len(text) >= _LEAST_CHARS:
                    name = getattr(node, "name", path.stem)
                    yield f"{path}:{getattr(node, 'lineno', 1)}", name, text, "text"
