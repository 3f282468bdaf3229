"""What the gateway sends to the generator and gets back."""

from typing import Any, Literal

from pydantic import BaseModel, Field

__all__ = ["ErrorKind", "GenerationEvent", "GenerationRequest", "GeneratorStatus"]

ErrorKind = Literal["not_ready", "busy", "too_long", "failed"]


class GenerationRequest(BaseModel):
    """One answer to generate."""

    messages: list[dict[str, str]]
    """Chat messages with `role` and `content`."""
    max_tokens: int = Field(ge=1)
    """Most tokens to generate."""
    temperature: float = 0.0
    """0 is greedy."""
    top_p: float | None = None
    """Nucleus sampling."""
    seed: int | None = None
    """Seed of the sampling."""
    presence_penalty: float | None = None
    """As in the OpenAI API."""
    frequency_penalty: float | None = None
    """As in the OpenAI API."""

    def body(self, model: str) -> dict[str, Any]:
        """Build the request for vLLM, which reports usage with every piece."""
        usage = {"include_usage": True, "continuous_usage_stats": True}
        return {
            "model": model,
            "stream": True,
            "stream_options": usage,
            **self.model_dump(exclude_none=True),
        }


class GenerationEvent(BaseModel):
    """One step of a generation; the last one of a stream is `done` or `error`."""

    kind: Literal["text", "done", "error"]
    """What the event tells."""
    text: str = ""
    """New text (`text`), or a sentence for the log (`error`)."""
    error: ErrorKind | None = None
    """What went wrong (`error`)."""
    finish_reason: Literal["stop", "length"] | None = None
    """Why the model stopped (`done`)."""
    prompt_tokens: int = 0
    """Tokens read so far."""
    completion_tokens: int = 0
    """Tokens generated so far."""


class GeneratorStatus(BaseModel):
    """What the generator serves and whether it can."""

    ready: bool
    """A completion has succeeded and the server lives."""
    checkpoint: str | None = None
    """Folder or hub name of the served checkpoint."""
    kind: str | None = None
    """`awq` or `base`."""
    dtype: str | None = None
    """Number format of the arithmetic."""
    detail: str = ""
    """A sentence: why this checkpoint, or why it isn't ready."""
