"""The BentoML service Gateway: the only one that listens on TCP."""

import bentoml

from bentos.gateway.app import Backends, create_app
from bentos.gateway.health import is_ready
from bentos.gateway.upstream import RemoteGeneration, RemoteRetrieval
from bentos.generator.service import Generator
from bentos.inner_service import QUIET
from bentos.logs import show_own_logs
from bentos.retriever.service import Retriever
from forebay.settings import GeneratorSettings, ServingSettings

__all__ = ["Gateway"]

app = create_app()


@bentoml.service(name="Gateway", workers=1, traffic={"timeout": 600}, **QUIET)
@bentoml.asgi_app(app, path="/")
class Gateway:
    """Answers questions and searches over HTTP, as OpenAI's API does."""

    retriever = bentoml.depends(Retriever)
    generator = bentoml.depends(Generator)

    def __init__(self) -> None:
        show_own_logs()
        self._backends = Backends(
            RemoteRetrieval(self.retriever),
            RemoteGeneration(self.generator),
            ServingSettings(),
            GeneratorSettings(),
        )
        app.state.backends = self._backends

    async def __is_ready__(self) -> bool:
        """Say whether questions can be answered."""
        return await is_ready(self._backends.retrieval, self._backends.generation)
