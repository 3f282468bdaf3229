"""The BentoML service Generator."""

import json
from collections.abc import AsyncGenerator

import bentoml

from bentos.generator.checkpoint import Checkpoint, list_checkpoints
from bentos.generator.hardware import detect_hardware
from bentos.generator.protocol import GenerationEvent, GenerationRequest, GeneratorStatus
from bentos.generator.supervisor import Supervisor
from bentos.logs import show_own_logs
from bentos.service_options import SERVICE_OPTIONS
from forebay.generation_models import checkpoint_folders, ensure_base_checkpoint
from forebay.settings import GeneratorSettings, PathSettings

__all__ = ["Generator"]


@bentoml.service(name="Generator", traffic={"timeout": 600}, **SERVICE_OPTIONS)
class Generator:
    """Streams completions; comes up at once and is ready once vLLM has generated a token."""

    def __init__(self) -> None:
        show_own_logs()
        settings, paths = GeneratorSettings(), PathSettings()
        hardware = detect_hardware()

        def find() -> list[Checkpoint]:
            base = ensure_base_checkpoint(settings, paths)
            folders = checkpoint_folders(settings, paths)
            return list_checkpoints(base, folders.awq, folders.check, use_awq=settings.use_awq, hardware=hardware)

        self._supervisor = Supervisor(
            settings, find, paths.data.absolute() / "logs" / "vllm.log", has_cuda=hardware.has_cuda
        )

    @bentoml.on_startup
    async def start(self) -> None:
        """Start vLLM and return."""
        self._supervisor.start()

    @bentoml.on_shutdown
    async def close(self) -> None:
        """End vLLM."""
        await self._supervisor.stop()

    async def __is_ready__(self) -> bool:
        """Say whether a completion has succeeded and the server still lives."""
        return self._supervisor.status.ready

    @bentoml.api
    async def status(self) -> GeneratorStatus:
        """Tell what is served, and whether it can generate."""
        return self._supervisor.status

    @bentoml.api
    async def stream_chat(self, request: GenerationRequest) -> AsyncGenerator[str, None]:
        """Generate; yields one `GenerationEvent` as JSON per line. vLLM stops when the caller leaves."""
        if not self._supervisor.status.ready:
            event = GenerationEvent(kind="error", error="not_ready", text=self._supervisor.status.detail)
            yield _line(event)
            return
        stream = self._supervisor.client.stream(request)
        try:
            async for event in stream:
                yield _line(event)
        finally:
            await stream.aclose()


def _line(event: GenerationEvent) -> str:
    # ASCII only, because BentoML's client cuts a stream into chunks anywhere and decodes each for itself.
    return json.dumps(event.model_dump(exclude_defaults=True)) + "\n"
