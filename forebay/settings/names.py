"""Settings that hold several names."""

import json
from typing import Annotated

from pydantic import BeforeValidator
from pydantic_settings import NoDecode

__all__ = ["Names"]


def _names(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.startswith("["):
        return json.loads(text)
    return (text,) if text else ()


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names)]
"""Several names: a JSON list in the environment, or one of them as it is."""
