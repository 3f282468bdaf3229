"""Keeps one vLLM server running: starts it, proves that it generates, falls back, restarts it."""

import asyncio
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from bentos.generator.checkpoint import Checkpoint
from bentos.generator.child import GuardedProcess
from bentos.generator.protocol import GeneratorStatus
from bentos.generator.vllm_client import VllmClient
from bentos.generator.vllm_server import vllm_command, vllm_environment
from forebay.errors import ForebayError
from forebay.settings import GeneratorSettings

__all__ = ["Supervisor"]

logger = logging.getLogger("forebay.generator")

_POLL_S = 0.5
_HEALTH_POLL_S = 5.0
_FIRST_BACKOFF_S = 1.0
_LAST_BACKOFF_S = 60.0


class Supervisor:
    """Owns the vLLM server of this process.

    Ready means that a completion of one token has succeeded: on a processor that can't run the 4-bit kernel,
    vLLM loads the checkpoint, answers its health check, and dies at the first forward pass.
    """

    def __init__(
        self,
        settings: GeneratorSettings,
        list_checkpoints: Callable[[], list[Checkpoint]],
        log: Path,
        *,
        has_cuda: bool,
    ) -> None:
        self._settings = settings
        self._list_checkpoints = list_checkpoints
        self._log = log
        self._has_cuda = has_cuda
        self._folder = Path(tempfile.mkdtemp(prefix="forebay-vllm-"))
        self._socket = self._folder / "api.sock"
        self._child: GuardedProcess | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._checkpoint: Checkpoint | None = None
        self._is_ready = False
        self._detail = "The generator is starting."
        self.client = VllmClient(self._socket)

    @property
    def status(self) -> GeneratorStatus:
        """What is served, and whether it can generate."""
        served = self._checkpoint
        return GeneratorStatus(
            ready=self._is_ready,
            checkpoint=served and Path(served.model).name,
            kind=served and served.kind,
            dtype=served and served.dtype,
            detail=self._detail,
        )

    def start(self) -> None:
        """Begin; returns at once."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """End the server and everything it started."""
        self._stopping, self._is_ready = True, False
        self._detail = "The generator is shutting down."
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        await self._end_child()
        await self.client.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _run(self) -> None:
        failed: set[Checkpoint] = set()
        backoff_s = _FIRST_BACKOFF_S
        while not self._stopping:
            started = time.monotonic()
            try:
                wanted = await asyncio.to_thread(self._list_checkpoints)
                # The last one has no fallback: it is tried again and again.
                checkpoint = next((c for c in wanted if c not in failed), wanted[-1])
                was_ready = await self._serve(checkpoint)
                if not was_ready and checkpoint != wanted[-1]:
                    failed.add(checkpoint)
                    logger.warning("falling back from %s: %s", checkpoint.model, self._detail)
                    continue
            except (ForebayError, OSError) as exc:
                logger.warning("the generator can't start: %s", exc)
                self._detail = "The generation model can't be loaded; see the service's log."
                was_ready = False
            if was_ready and time.monotonic() - started > _LAST_BACKOFF_S:
                backoff_s = _FIRST_BACKOFF_S
            logger.warning("restarting the generator in %.0f s", backoff_s)
            await asyncio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, _LAST_BACKOFF_S)

    async def _serve(self, checkpoint: Checkpoint) -> bool:
        """Run the server until it ends; says whether it ever was ready."""
        self._checkpoint, self._detail = (
            checkpoint,
            f"The generator is loading {Path(checkpoint.model).name}.",
        )
        logger.info("serving %s in %s: %s", checkpoint.model, checkpoint.dtype, checkpoint.reason)
        self._socket.unlink(missing_ok=True)
        command = vllm_command(checkpoint, self._settings, self._socket, has_cuda=self._has_cuda)
        self._child = GuardedProcess(command, vllm_environment(os.environ, checkpoint), self._log)
        started = time.monotonic()
        try:
            problem = await self._wait_until_ready(self._child)
            if problem:
                self._detail = "The generator's server did not get ready; it is being restarted."
                logger.error("%s did not get ready: %s (see %s)", checkpoint.model, problem, self._log)
                return False
            self._is_ready = True
            self._detail = f"Serving {Path(checkpoint.model).name} in {checkpoint.dtype}: {checkpoint.reason}."
            logger.info("%s is ready after %.1f s", checkpoint.model, time.monotonic() - started)
            await self._watch(self._child)
            self._detail = "The generator's server ended; it is being restarted."
            logger.error("the vLLM server ended (see %s)", self._log)
            return True
        finally:
            self._is_ready = False
            await self._end_child()

    async def _wait_until_ready(self, child: GuardedProcess) -> str:
        deadline = time.monotonic() + self._settings.start_timeout_s
        while time.monotonic() < deadline:
            if child.returncode is not None:
                return f"the server ended with status {child.returncode}"
            if self._socket.exists():
                event = await self.client.probe()
                if event.kind == "done":
                    return ""
                if event.error != "not_ready":
                    return f"the first completion failed: {event.text}"
            await asyncio.sleep(_POLL_S)
        return f"not ready after {self._settings.start_timeout_s:.0f} s"

    async def _watch(self, child: GuardedProcess) -> None:
        next_check = time.monotonic() + _HEALTH_POLL_S
        while child.returncode is None:
            await asyncio.sleep(_POLL_S)
            if time.monotonic() >= next_check:
                if not await self.client.is_healthy():
                    return
                next_check = time.monotonic() + _HEALTH_POLL_S

    async def _end_child(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            # Shielded: a cancelled supervisor must still not leave vLLM behind.
            await asyncio.shield(asyncio.to_thread(child.stop))
