"""Releases: immutable manifests, one atomic pointer to the current one, and the gate before it moves."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from forebay.atomic_file import write_atomically
from forebay.documents import content_hash
from forebay.embedding.spec import EmbeddingSpec
from forebay.errors import ReleaseError
from forebay.settings import IndexSettings, WrittenIndexSettings
from forebay.store.contract import ShardRef
from forebay.store.shard_files import verify

__all__ = ["Evaluation", "ReleaseManifest", "ReleaseRegistry", "now", "release_id", "worse_metrics"]


def release_id(corpus: str, embedding: EmbeddingSpec, index: IndexSettings, contents: Mapping[int, str]) -> str:
    """Give 16 hexadecimal digits over what is searchable: equal content gives an equal id, whenever it was built.

    Args:
        corpus: Name of the corpus.
        embedding: Model of the vectors.
        index: Settings of the shards.
        contents: Content of every shard that has chunks, by its number.
    """
    shards = [f"{number}:{content}" for number, content in sorted(contents.items())]
    return content_hash(corpus, embedding.fingerprint, index.identity, *shards)[:16]


class Evaluation(BaseModel):
    """Retrieval quality of a release on the corpus's golden questions."""

    model_config = ConfigDict(frozen=True)

    questions: int
    """Golden questions asked; 0 where the corpus has none."""
    ndcg10: float | None = None
    """nDCG@10 of the hybrid search."""
    mrr10: float | None = None
    """MRR@10 of the hybrid search: 1 / rank of the first relevant document, 0 behind the tenth."""
    recall100: float | None = None
    """recall@100 of the hybrid search."""
    intervals: dict[str, tuple[float, float]] = Field(default_factory=dict[str, tuple[float, float]])
    """95% interval of a figure, by its name."""
    ndcg10_by_question: dict[str, float] = Field(default_factory=dict[str, float])
    """nDCG@10 of each question, by its id."""
    questions_hash: str = ""
    """Identity of the questions and judgements: only figures over the same ones are compared."""
    search: str = ""
    """Version of the way of searching that was measured (`SEARCH_VERSION`); likewise."""

    def is_comparable(self, other: "Evaluation") -> bool:
        """Whether both were measured with the same questions and the same way of searching."""
        return (self.questions_hash, self.search) == (other.questions_hash, other.search)


class ReleaseManifest(BaseModel):
    """Everything that must be equal for two releases to answer alike, and what is known about it."""

    model_config = ConfigDict(frozen=True)

    corpus: str
    """Name of the corpus."""
    embedding: EmbeddingSpec
    """Model that the vectors were made with, and questions must be."""
    index: WrittenIndexSettings
    """Settings that the shards were built with."""
    reduction: str = ""
    """Fingerprint of the map that vectors and questions are reduced with; empty where they are whole, and in releases
    of earlier versions of Forebay. The shards' contents decide about it, so the id needs no part of it."""
    shards: tuple[ShardRef, ...]
    """One per partition, in order; a partition without chunks has none."""
    documents: int
    """Documents that the release was built from."""
    table_versions: dict[str, int]
    """Version of each Lance table that the release was built from."""
    evaluation: Evaluation
    """Retrieval quality."""
    created_at: datetime
    """When the manifest was first written."""

    @property
    def release_id(self) -> str:
        """Id of what is searchable; see the function of this name."""
        contents = {shard.number: shard.content for shard in self.shards}
        return release_id(self.corpus, self.embedding, self.index, contents)

    @property
    def chunks(self) -> int:
        """Chunks that can be searched."""
        return sum(shard.chunks for shard in self.shards)


class ReleaseRegistry:
    """The manifests and the pointer in one folder; safe for any number of readers and one writer."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pointer = folder / "current"

    def current_id(self) -> str | None:
        """Read the pointer; None before the first promotion."""
        try:
            return self._pointer.read_text("utf-8").strip() or None
        except FileNotFoundError:
            return None

    def previous_id(self) -> str | None:
        """Read which release a rollback would bring back; None where there is none."""
        try:
            return (self._folder / "previous").read_text("utf-8").strip() or None
        except FileNotFoundError:
            return None

    def remove(self, release_id: str) -> None:
        """Forget a release that is neither the current nor the previous one.

        Raises:
            ReleaseError: it is.
        """
        if release_id in (self.current_id(), self.previous_id()):
            raise ReleaseError(f"the release {release_id!r} is in use, or one rollback away; it can't be removed.")
        (self._folder / f"{release_id}.json").unlink(missing_ok=True)

    def holds(self, release_id: str) -> bool:
        """Say whether there is a manifest of this id."""
        return (self._folder / f"{release_id}.json").exists()

    def load(self, release_id: str) -> ReleaseManifest:
        """Read a manifest.

        Raises:
            ReleaseError: there is no such release, or its manifest is damaged.
        """
        path = self._folder / f"{release_id}.json"
        try:
            manifest = ReleaseManifest.model_validate_json(path.read_bytes())
        except FileNotFoundError as exc:
            raise ReleaseError(
                f"there is no release {release_id!r}; `forebay release list` shows them.",
                public="there is no such release",
            ) from exc
        except ValidationError as exc:
            raise ReleaseError(
                f"the manifest {path} is damaged; run the pipeline again to rewrite it.",
                public="its manifest is damaged",
            ) from exc
        if manifest.release_id != release_id:
            raise ReleaseError(f"the manifest {path} describes another release ({manifest.release_id}).")
        return manifest

    def current(self) -> ReleaseManifest | None:
        """Read the manifest of the current release; None before the first promotion."""
        release_id = self.current_id()
        return None if release_id is None else self.load(release_id)

    def list(self) -> list[ReleaseManifest]:
        """Read all manifests, newest first."""
        manifests = [self.load(path.stem) for path in self._folder.glob("*.json")]
        return sorted(manifests, key=lambda manifest: manifest.created_at, reverse=True)

    def save(self, manifest: ReleaseManifest) -> ReleaseManifest:
        """Write a manifest, keeping the creation time of one with the same id."""
        path = self._folder / f"{manifest.release_id}.json"
        if path.exists():
            manifest = manifest.model_copy(update={"created_at": self.load(manifest.release_id).created_at})
        write_atomically(path, manifest.model_dump_json(indent=2))
        return manifest

    def promote(self, release_id: str, *, shards: Path) -> None:
        """Make a release the current one by one atomic pointer move, after reading every byte of its shards.

        A release that is the current one already is not read again. One that lies in Weaviate has no files: it must
        be complete and indexed, and the cluster's alias moves to it first.

        Args:
            release_id: The release.
            shards: Folder of all shards.

        Raises:
            ConfigurationError: the settings of the cluster are wrong.
            ReleaseError: there is no such release, files of it are missing or changed, or the cluster doesn't hold all
                of it; the pointer stays.
        """
        manifest, previous = self.load(release_id), self.current_id()
        if manifest.index.store == "weaviate":
            # Also where it is the current one, for a restored cluster may have lost the alias.
            _move_alias(manifest)
        elif previous != release_id:
            _verify_shards(manifest, shards, current=previous)
        if previous == release_id:
            return
        if previous is not None:
            write_atomically(self._folder / "previous", previous)
        write_atomically(self._pointer, release_id)

    def check(self, release_id: str, *, shards: Path) -> None:
        """See to it that a release could be promoted: every byte of its shards, or their counts in the cluster.

        Raises:
            ConfigurationError: the settings of the cluster are wrong.
            ReleaseError: there is no such release, files of it are missing or changed, or the cluster doesn't hold all
                of it.
        """
        manifest = self.load(release_id)
        if manifest.index.store == "weaviate":
            _check_cluster(manifest)
        else:
            _verify_shards(manifest, shards, current=self.current_id())

    def rollback(self, *, shards: Path) -> str:
        """Move the pointer back to the release that was current before; the same call again moves it forward.

        Args:
            shards: Folder of all shards.

        Returns:
            The id of the release that is now current.

        Raises:
            ReleaseError: there was none before, or it can't be promoted any more; the pointer stays.
        """
        previous = self.previous_id()
        if previous is None:
            raise ReleaseError("there is no earlier release to go back to.")
        self.promote(previous, shards=shards)
        return previous


def _move_alias(manifest: ReleaseManifest) -> None:
    # The client is heavy, and only some releases need it.
    from forebay.store.weaviate_store import connected_store

    with connected_store() as store:
        store.promote(manifest)


def _check_cluster(manifest: ReleaseManifest) -> None:
    from forebay.store.weaviate_store import connected_store

    with connected_store() as store:
        store.verify(manifest)


def _verify_shards(manifest: ReleaseManifest, shards: Path, *, current: str | None) -> None:
    try:
        for ref in manifest.shards:
            verify(shards / ref.path, ref, contents=True)
    except ReleaseError as exc:
        stays = "there is still no current release" if current is None else f"{current} stays the current one"
        raise ReleaseError(
            f"the release {manifest.release_id} is damaged, so {stays}: {exc} "
            "`forebay release list` shows which others there are to promote."
        ) from exc


def worse_metrics(candidate: Evaluation, current: Evaluation, margin: float) -> list[str]:
    """List the metrics by which a candidate is worse than the current release by more than the margin.

    Evaluations over different questions or by another way of searching are not compared, and a metric that one of
    them lacks neither.
    """
    if not candidate.is_comparable(current):
        return []
    worse: list[str] = []
    for name in ("ndcg10", "recall100"):
        new, old = getattr(candidate, name), getattr(current, name)
        if new is not None and old is not None and new < old - margin:
            worse.append(f"{name} {new:.4f} against {old:.4f}")
    return worse


def now() -> datetime:
    """Give the time for a manifest's `created_at`."""
    return datetime.now(UTC)
