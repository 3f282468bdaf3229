"""The BentoML service Retriever."""

from typing import Annotated

import bentoml
from bentoml.validators import ContentType

from bentos.logs import show_own_logs
from bentos.retriever.protocol import RetrieverStatus, SearchItem, SearchOutcome
from bentos.retriever.switching import ReleaseFollower
from bentos.service_options import SERVICE_OPTIONS
from forebay.canary.trials import CanaryRegistry
from forebay.releases import ReleaseRegistry
from forebay.settings import PathSettings, ServingSettings

__all__ = ["Retriever"]

_MAX_BATCH = 64
# Without a named content type BentoML derives it from the JSON schema, anew for every response: 3.4 ms.
Outcomes = Annotated[list[SearchOutcome], ContentType("application/json")]
# A deadline, not a window: searches that would wait longer are refused.
_MAX_WAIT_MS = 10_000


@bentoml.service(name="Retriever", traffic={"timeout": 30}, **SERVICE_OPTIONS)
class Retriever:
    """Searches the current release, and a canary beside it; searches that arrive together are embedded together."""

    def __init__(self) -> None:
        from bentos.retriever.canary_traffic import CanaryTraffic
        from bentos.retriever.reranking import Reranking
        from bentos.retriever.searching import answer_batch, answer_on, is_searchable, open_release

        show_own_logs()
        self._settings, paths = ServingSettings(), PathSettings()
        processes = self._settings.search_processes
        self._answer_batch = answer_batch
        self._reranking = Reranking(self._settings, paths)
        canaries = CanaryRegistry(paths.releases)
        self._follower = ReleaseFollower(
            ReleaseRegistry(paths.releases),
            lambda manifest: open_release(manifest, paths, processes),
            canaries,
            is_searchable,
        )
        self._traffic = CanaryTraffic(
            self._follower, canaries, lambda opened, item: answer_on(opened, [item])[0], self._settings.min_relevance
        )

    @bentoml.on_startup
    def start(self) -> None:
        """Begin to follow the release pointers."""
        self._follower.start(self._settings.release_poll_s)

    @bentoml.on_shutdown
    def close(self) -> None:
        """Close the releases."""
        self._traffic.close()
        self._follower.stop()
        self._reranking.close()

    async def __is_ready__(self) -> bool:
        """Say whether a release is open and can be searched."""
        return self._follower.is_ready

    @bentoml.api(batchable=True, max_batch_size=_MAX_BATCH, max_latency_ms=_MAX_WAIT_MS)
    def search(self, items: list[SearchItem]) -> Outcomes:
        """Answer searches, one outcome per item in order."""
        return self._answer_batch(self._follower, items, traffic=self._traffic, reranking=self._reranking)

    @bentoml.api
    async def status(self) -> RetrieverStatus:
        """Tell which release is searched."""
        manifest, canary = self._follower.manifest, self._follower.canary
        if manifest is None or not self._follower.is_ready:
            return RetrieverStatus(ready=False, detail=self._follower.problem)
        return RetrieverStatus(
            ready=True,
            release=manifest.release_id,
            corpus=manifest.corpus,
            chunks=manifest.chunks,
            documents=manifest.documents,
            canary=canary.release_id if canary else None,
            canary_share=canary.share if canary else 0.0,
            detail=" ".join(filter(None, [self._follower.problem, self._reranking.problem])),
        )
