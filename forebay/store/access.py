"""Who may find which chunk: the tenant and the groups of a document against those of the caller.

A document names them in its metadata, `tenant` (a string) and `groups` (a string or a list of strings). Without a
tenant it is for every tenant; without groups it is for every caller of its tenant.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from forebay.store.filters import And, AnyOf, Equals, Exists, Filter, Not, Or, parse_filter

__all__ = ["EVERYTHING", "GROUPS", "PUBLIC", "RESTRICTED", "TENANT", "Caller", "effective_filter"]

TENANT = "metadata.tenant"
"""Field of the tenant that a chunk belongs to."""
GROUPS = "metadata.groups"
"""Field of the groups that a chunk is for."""
RESTRICTED = Or((Exists(TENANT), Exists(GROUPS)))
"""Matches the chunks that not every caller may find."""


@dataclass(frozen=True)
class Caller:
    """On whose behalf is searched."""

    tenant: str | None = None
    """The caller's tenant; None: of no tenant."""
    groups: frozenset[str] = frozenset()
    """The caller's groups."""
    sees_everything: bool = False
    """Access isn't checked at all; only `EVERYTHING` sets it."""


PUBLIC = Caller()
"""Nobody in particular: finds only chunks that are for everybody."""
EVERYTHING = Caller(sees_everything=True)
"""The pipeline itself, which evaluates and measures; never a user."""


def effective_filter(where: Mapping[str, Any] | None, caller: Caller) -> Filter | None:
    """Give what a search is restricted to: the caller's filter, and what the caller may find at all.

    Every store makes its index filter of this and of nothing else.

    Raises:
        FilterError: `where` is not of the filter language (see `forebay.store.filters`).
    """
    wanted = parse_filter(where)
    if caller.sees_everything:
        return wanted
    access = (_of_tenant(caller.tenant), _of_groups(caller.groups))
    return And(access if wanted is None else (wanted, *access))


def _of_tenant(tenant: str | None) -> Filter:
    of_none = Not(Exists(TENANT))
    return of_none if tenant is None else Or((of_none, Equals(TENANT, tenant)))


def _of_groups(groups: frozenset[str]) -> Filter:
    of_none = Not(Exists(GROUPS))
    return Or((of_none, AnyOf(GROUPS, tuple(sorted(groups))))) if groups else of_none
