"""Weaviate's tenants: which of them a document lies in, which a question goes to, and all of a collection's in turn.

A tenant is a shard of its own, with its own vectors and its own word statistics, and every call names exactly one.
"""

import re
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from weaviate import WeaviateClient
from weaviate.collections import Collection as WeaviateCollection
from weaviate.collections.classes.batch import BatchObjectReturn, ErrorObject
from weaviate.exceptions import UnexpectedStatusCodeError

from forebay.documents import content_hash
from forebay.errors import ReleaseError
from forebay.store.access import Caller

__all__ = ["SHARED", "Tenancy", "asked_tenants", "tenant_name", "tenant_of"]

SHARED = "shared"
"""Tenant of the documents that name none; no document's own tenant can be called so."""

# With the hash's 32 digits and a hyphen, as long as Weaviate lets a name be: 64 of A-Z, a-z, 0-9, `_` and `-`.
# Source: `ShardNameRegexCore` in weaviate's entities/schema/validation.go.
_READABLE_CHARS = 31
_CREATED_AT_ONCE = 100
_NOT_FOUND = 404


def tenant_name(tenant: str) -> str:
    """Name Weaviate's tenant of a document's: what of it is legal, to be recognized, and a hash, so none collide."""
    readable = re.sub(r"[^A-Za-z0-9_-]", "_", tenant)[:_READABLE_CHARS]
    return f"{readable}-{content_hash(tenant)}"


def tenant_of(metadata: Mapping[str, Any]) -> str:
    """Name Weaviate's tenant that a document lies in, by its metadata."""
    tenant = metadata.get("tenant")
    return tenant_name(tenant) if isinstance(tenant, str) else SHARED


def asked_tenants(caller: Caller, held: Collection[str]) -> list[str]:
    """Give those of the tenants there are that a caller's question goes to: the shared one and its own, or all."""
    if caller.sees_everything:
        return sorted(held)
    wanted = [SHARED] if caller.tenant is None else [SHARED, tenant_name(caller.tenant)]
    return [name for name in wanted if name in held]


class Tenancy:
    """A collection, whether it has tenants or not, and its properties: it is asked, for none of that ever changes.

    Raises:
        ReleaseError: there is no such collection.
    """

    def __init__(self, client: WeaviateClient, collection: WeaviateCollection[Any, Any]) -> None:
        self._client = client
        self._collection = collection
        try:
            config = collection.config.get()
        except UnexpectedStatusCodeError as exc:
            if exc.status_code != _NOT_FOUND:
                raise
            raise ReleaseError(
                f"there is no collection {collection.name!r} in Weaviate; load the release.",
                public="it has no collection in Weaviate",
            ) from exc
        self.has_tenants = config.multi_tenancy_config.enabled
        self.properties = frozenset(item.name for item in config.properties)

    def tenants(self) -> frozenset[str] | None:
        """List the tenants; None where there is no such thing."""
        return frozenset(self._collection.tenants.get()) if self.has_tenants else None

    def views(self) -> list[WeaviateCollection[Any, Any]]:
        """Give the collection as each of its tenants sees it, or itself: together they hold every chunk once."""
        names = self.tenants()
        return [self._collection] if names is None else [self._collection.with_tenant(name) for name in sorted(names)]

    def create(self, names: Collection[str]) -> None:
        """Create the tenants that aren't there; Weaviate keeps what is."""
        wanted = sorted(names)
        for start in range(0, len(wanted), _CREATED_AT_ONCE):
            self._collection.tenants.create(wanted[start : start + _CREATED_AT_ONCE])

    @contextmanager
    def stream(self) -> Generator[Callable[..., Any]]:
        """Open a stream, and give its way to add an object of any tenant (`properties`, `uuid`, `vector`, `tenant`)."""
        if not self._client.is_connected():
            # A stream that can't come back leaves its client closed: weaviate-python-client, issue 2139.
            self._client.connect()
        if self.has_tenants:
            # A collection's own stream has objects of one tenant only.
            with self._client.batch.stream(consistency_level=self._collection.consistency_level) as stream:
                yield lambda **item: stream.add_object(collection=self._collection.name, **item)
        else:
            with self._collection.batch.stream() as stream:
                yield lambda tenant, **item: stream.add_object(**item)

    def disconnect(self) -> None:
        """Break off what is under way; the next stream connects again."""
        self._client.close()

    def sent(self) -> tuple[BatchObjectReturn, Sequence[ErrorObject]]:
        """Tell what the last stream stored, and what failed."""
        batch = self._client.batch if self.has_tenants else self._collection.batch
        return batch.results.objs, batch.failed_objects
