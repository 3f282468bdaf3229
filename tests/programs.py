"""Programs of the system that some tests need."""

import os
import shutil

import pytest

__all__ = ["require_git"]


def require_git():
    """Skip a test where there is no git; CI installs it, so there a missing one is an error."""
    if shutil.which("git") is None:
        if os.environ.get("CI"):
            pytest.fail("CI has no git, which `.ci/run` installs")
        pytest.skip("there is no git")
