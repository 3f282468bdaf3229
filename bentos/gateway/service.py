"""The BentoML service Gateway: the only one that listens on TCP."""

from typing import Any

import bentoml

from bentos.gateway.app import Backends, create_app
from bentos.gateway.connection import ServiceConnection
from bentos.gateway.draining import Drain
from bentos.gateway.health import is_ready
from bentos.gateway.upstream import RemoteGeneration, RemoteRetrieval
from bentos.generator.service import Generator
from bentos.logs import show_own_logs
from bentos.retriever.service import Retriever
from bentos.service_options import SERVICE_OPTIONS
from forebay.settings import GeneratorSettings, ServingSettings

__all__ = ["Gateway"]

app = create_app()


@bentoml.service(name="Gateway", traffic={"timeout": 600}, **SERVICE_OPTIONS)
@bentoml.asgi_app(app, path="/")
class Gateway:
    """Answers questions and searches over HTTP, as OpenAI's API does."""

    retriever = bentoml.depends(Retriever)
    generator = bentoml.depends(Generator)

    def __init__(self) -> None:
        show_own_logs()
        self._connections = [_connection("retriever", self.retriever), _connection("generator", self.generator)]
        retriever, generator = self._connections
        settings = ServingSettings()
        self._backends = Backends(
            RemoteRetrieval(retriever),
            RemoteGeneration(generator),
            settings,
            GeneratorSettings(),
            Drain(settings.drain_s),
        )
        app.state.backends = self._backends

    @bentoml.on_startup
    async def start(self) -> None:
        """Begin to drain when the process is told to end."""
        self._backends.drain.begin_on_signals()

    @bentoml.on_shutdown
    async def close(self) -> None:
        """Close the connections to the other services."""
        for connection in self._connections:
            await connection.close()

    async def __is_ready__(self) -> bool:
        """Say whether questions can be answered."""
        return await is_ready(self._backends.retrieval, self._backends.generation)


def _connection(name: str, proxy: Any) -> ServiceConnection:
    # `bentoml.depends` is typed as the service; what it gives is a client of it.
    return ServiceConnection(name, proxy.to_async.url)
