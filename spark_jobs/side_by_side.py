"""Queries that don't need each other, run at the same time: a small one leaves most of Spark idle."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["side_by_side"]

One = TypeVar("One")
Other = TypeVar("Other")


def side_by_side(one: Callable[[], One], other: Callable[[], Other]) -> tuple[One, Other]:
    """Run two functions at the same time and give what they return; both have ended when one's error is raised."""
    with ThreadPoolExecutor(1, thread_name_prefix="query") as pool:
        beside = pool.submit(other)
        first = one()
    return first, beside.result()
