"""The cluster store: one Weaviate collection a release, loaded partition by partition, made current by an alias."""

import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from datetime import datetime

import pyarrow as pa
from weaviate import WeaviateClient
from weaviate.classes.config import ConsistencyLevel
from weaviate.exceptions import WeaviateBaseError

from forebay.documents import partition_key
from forebay.errors import IndexBuildError, ReleaseError
from forebay.languages import BY_DOCUMENT
from forebay.releases import ReleaseManifest
from forebay.settings import IndexSettings, WeaviateSettings
from forebay.store.range_terms import RANGE_TERMS
from forebay.store.stems import STEMS, QuestionStems
from forebay.store.weaviate_channels import Channels
from forebay.store.weaviate_connection import connect
from forebay.store.weaviate_counts import count_chunks, count_partitions, list_languages
from forebay.store.weaviate_load import PartitionLoad
from forebay.store.weaviate_release import WeaviateRelease
from forebay.store.weaviate_schema import collection_name, create_collection, creation_time
from forebay.store.weaviate_tenants import Tenancy

__all__ = ["WeaviateStore", "connected_store", "open_cluster_release"]

_POLL_S = 1.0
_SHOWN = 10
_MEND = (
    "if it is the newest, run `ingest_job`, which loads the partitions that lack something; else delete its collection "
    "and run `weaviate_restore_job`"
)


class WeaviateStore:
    """Fills collections, moves the alias, and opens releases; loads go to a release's own collection, never the alias.

    A release's id is a hash of what is searchable, known before anything is loaded: so a load that starts again finds
    the collection that it began.
    """

    def __init__(self, client: WeaviateClient, settings: WeaviateSettings) -> None:
        self._client = client
        self._settings = settings
        self._tenancies: dict[str, Tenancy] = {}

    def prepare(self, release_id: str, index: IndexSettings) -> None:
        """Create the collection of a release where there is none.

        Raises:
            ConfigurationError: the index settings ask for what Weaviate doesn't do.
            IndexBuildError: the cluster refuses to create it.
            ReleaseError: the cluster doesn't answer, or the collection that is there differs in its tenants.
        """
        self._create(self._name(release_id), index)
        self._check_tenants(release_id, index)

    def holds_partition(self, release_id: str, number: int, content: str, chunks: int) -> bool:
        """Say whether a partition is loaded: all its chunks are of this content, and as many as there should be.

        Raises:
            ReleaseError: the cluster doesn't answer.
        """
        with _named("counting a partition"):
            views = self._tenancy(release_id).views()
            return all(chunks == sum(count_chunks(v, number, of) for v in views) for of in (None, content))

    def load_partition(
        self,
        release_id: str,
        number: int,
        content: str,
        batches: Iterable[pa.RecordBatch],
        *,
        dim: int,
        index: IndexSettings,
    ) -> int:
        """Make a partition hold these chunks and no others; the same end for any number of attempts.

        Args:
            release_id: The release; `prepare` must have made its collection.
            number: Number of the partition.
            content: Hash of the chunks, vectors' identity and index settings.
            batches: Chunk rows with a `vector` column.
            dim: Length of the vectors.
            index: Settings of the release.

        Returns:
            Chunks that the partition holds.

        Raises:
            IndexBuildError: the rows can't be indexed, or the cluster doesn't hold all of them.
            ReleaseError: the cluster doesn't answer, or there is no such release.
        """
        with _named("looking for a collection"):
            tenancy = self._tenancy(release_id)
        load = PartitionLoad(tenancy, number, content, dim=dim, index=index, settings=self._settings)
        return load.run(batches)

    def count(self, release_id: str) -> int:
        """Count the chunks of a release.

        Raises:
            ReleaseError: the cluster doesn't answer, or there is no such release.
        """
        with _named("counting a release"):
            return sum(count_chunks(view) for view in self._tenancy(release_id).views())

    def current_id(self) -> str | None:
        """Read which release the alias points to; None before the first promotion.

        Raises:
            ReleaseError: the cluster doesn't answer.
        """
        with _named("reading the alias"):
            found = self._client.alias.get(alias_name=self._settings.alias)
        return None if found is None else found.collection.removeprefix(f"{self._settings.alias}_")

    def promote(self, manifest: ReleaseManifest) -> str | None:
        """Point the alias to a release once it is whole and indexed; a rollback is the same with the earlier one.

        Returns:
            The release that was current.

        Raises:
            ReleaseError: the release isn't whole, isn't indexed in time, or the alias can't be moved.
        """
        release_id = manifest.release_id
        self.verify(manifest)
        self.wait_until_indexed(release_id)
        previous, name = self.current_id(), self._name(release_id)
        with _named("moving the alias"):
            if previous is None:
                self._client.alias.create(alias_name=self._settings.alias, target_collection=name)
            elif previous != release_id and not self._client.alias.update(
                alias_name=self._settings.alias, new_target_collection=name
            ):
                raise ReleaseError(f"Weaviate doesn't know the alias {self._settings.alias!r} any more; promote again.")
        return previous

    def remove(self, release_id: str) -> None:
        """Delete the collection of a release that isn't current.

        Raises:
            ReleaseError: it is current, or the cluster doesn't answer.
        """
        if self.current_id() == release_id:
            raise ReleaseError(f"the release {release_id!r} is current; it can't be removed.")
        with _named("removing a release"):
            self._client.collections.delete(self._name(release_id))
        self._tenancies.pop(release_id, None)

    def open(self, manifest: ReleaseManifest) -> WeaviateRelease:
        """Open a release for searching, over connections of its own.

        Raises:
            ReleaseError: it isn't in the cluster, or not all of it, or the cluster doesn't answer.
        """
        self.check_complete(manifest)
        tenancy = self._tenancy(manifest.release_id)
        with _named("listing the tenants"):
            tenants = tenancy.tenants()
        stems = _question_stems(tenancy, manifest.index)
        channels = Channels(self._name(manifest.release_id), self._settings)
        return WeaviateRelease(channels, manifest, tenants, stems, has_ranges=RANGE_TERMS in tenancy.properties)

    def check_complete(self, manifest: ReleaseManifest) -> None:
        """See whether the cluster holds as many chunks as a release has, with its tenants apart if the release says so.

        That is what every start of a retriever can afford; `verify` looks at each partition.

        Raises:
            ReleaseError: it doesn't, or doesn't answer.
        """
        held = self.count(manifest.release_id)
        if held != manifest.chunks:
            raise ReleaseError(
                f"the release {manifest.release_id} holds {held} of {manifest.chunks} chunks in Weaviate; {_MEND}.",
                public=f"it holds {held} of {manifest.chunks} chunks in Weaviate",
            )
        self._check_tenants(manifest.release_id, manifest.index)

    def verify(self, manifest: ReleaseManifest) -> None:
        """See whether every partition of a release holds its chunks, of the right content, and nothing else is there.

        Raises:
            ReleaseError: a partition doesn't, with the name of the first ones; or the cluster doesn't answer.
        """
        release_id, expected = manifest.release_id, {ref.number: ref.chunks for ref in manifest.shards}
        with _named("counting the partitions"):
            held = count_partitions(self._tenancy(release_id).views(), manifest.shards)
        wrong = [number for number in sorted(expected) if held[number] != expected[number]]
        if wrong:
            shown = ", ".join(f"{partition_key(n)} {held[n]} of {expected[n]}" for n in wrong[:_SHOWN])
            raise ReleaseError(
                f"{len(wrong)} of {len(expected)} partitions of the release {release_id} don't hold their chunks in "
                f"Weaviate ({shown}{', ...' if len(wrong) > _SHOWN else ''}); {_MEND}."
            )
        self.check_complete(manifest)

    def created(self) -> dict[str, datetime | None]:
        """List the releases that have a collection, finished or not, and when it was created, where it says so.

        Raises:
            ReleaseError: the cluster doesn't answer.
        """
        prefix = collection_name(self._settings.alias, "")
        with _named("listing the collections"):
            found = self._client.collections.list_all()
        return {
            name.removeprefix(prefix): creation_time(config.description)
            for name, config in found.items()
            if name.startswith(prefix)
        }

    def _create(self, name: str, index: IndexSettings) -> None:
        try:
            if self._client.collections.exists(name):
                return
            create_collection(self._client, name, index, self._settings)
        except WeaviateBaseError as exc:
            with _named("looking for a collection"):
                # Another task may have been faster.
                if self._client.collections.exists(name):
                    return
            raise IndexBuildError(f"Weaviate doesn't create the collection {name!r}: {exc}") from exc

    def _name(self, release_id: str) -> str:
        return collection_name(self._settings.alias, release_id)

    def _tenancy(self, release_id: str) -> Tenancy:
        if release_id not in self._tenancies:
            level = ConsistencyLevel(self._settings.write_consistency)
            collection = self._client.collections.use(self._name(release_id)).with_consistency_level(level)
            self._tenancies[release_id] = Tenancy(self._client, collection)
        return self._tenancies[release_id]

    def _check_tenants(self, release_id: str, index: IndexSettings) -> None:
        with _named("looking at a collection"):
            has_tenants = self._tenancy(release_id).has_tenants
        if has_tenants != index.tenants:
            raise ReleaseError(
                f"the collection {self._name(release_id)!r} {'has' if has_tenants else 'lacks'} tenants, its release "
                f"says otherwise (FOREBAY_INDEX_TENANTS={str(index.tenants).lower()}): somebody else made it; delete "
                "it and load the release again."
            )

    def wait_until_indexed(self, release_id: str) -> None:
        """Wait for the queues of vectors, which a cluster with ASYNC_INDEXING has.

        Raises:
            ReleaseError: they aren't empty in time, or the cluster doesn't answer.
        """
        deadline = time.monotonic() + self._settings.drain_timeout_s
        while waiting := self._waiting_vectors(release_id):
            if time.monotonic() > deadline:
                raise ReleaseError(
                    f"{waiting} vectors of the release {release_id} wait for their index after "
                    f"{self._settings.drain_timeout_s:g} s; go on later."
                )
            time.sleep(_POLL_S)

    def _waiting_vectors(self, release_id: str) -> int:
        with _named("looking at the nodes"):
            nodes = self._client.cluster.nodes(collection=self._name(release_id), output="verbose")
        return sum(shard.vector_queue_length for node in nodes for shard in node.shards or ())


def _question_stems(tenancy: Tenancy, index: IndexSettings) -> QuestionStems | None:
    """Make what reads questions; None where the collection has no stems."""
    if STEMS not in tenancy.properties:
        return None
    if index.bm25_language != BY_DOCUMENT:
        return QuestionStems(index, ())
    with _named("listing the languages"):
        return QuestionStems(index, list_languages(tenancy.views()))


@contextmanager
def connected_store(settings: WeaviateSettings | None = None) -> Generator[WeaviateStore]:
    """Give the store of a cluster, that of the environment's settings if none are given, and disconnect afterwards.

    Raises:
        ConfigurationError: the settings are wrong.
        ReleaseError: the cluster doesn't answer.
    """
    chosen = settings or WeaviateSettings()
    with connect(chosen) as client:
        yield WeaviateStore(client, chosen)


def open_cluster_release(manifest: ReleaseManifest) -> WeaviateRelease:
    """Open a release of the environment's cluster.

    Raises:
        ConfigurationError: the settings are wrong.
        ReleaseError: it isn't in the cluster, or not all of it, or the cluster doesn't answer.
    """
    with connected_store() as store:
        return store.open(manifest)


@contextmanager
def _named(action: str) -> Generator[None]:
    try:
        yield
    except WeaviateBaseError as exc:
        raise ReleaseError(f"Weaviate fails at {action}: {exc}") from exc
