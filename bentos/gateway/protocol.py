"""Requests of the public API, and what is refused in them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from forebay.store import SearchMode

__all__ = ["MODEL_ID", "ChatMessage", "ChatRequest", "SearchBody", "StreamOptions"]

MODEL_ID = "forebay"

_STRICT = ConfigDict(strict=True, extra="ignore")
# Options of the OpenAI API that change what an answer is; silently ignoring them would be a lie.
_UNSUPPORTED = (
    "tools",
    "functions",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "audio",
    "web_search_options",
    "stop",
)


class ContentPart(BaseModel):
    """A part of a message; only text can be answered."""

    model_config = _STRICT

    type: str
    text: str | None = None

    @model_validator(mode="after")
    def _is_text(self) -> "ContentPart":
        if self.type != "text" or self.text is None:
            raise ValueError(f"a content part of type {self.type!r} is not supported; send parts of type 'text'.")
        return self


class ChatMessage(BaseModel):
    """One message of the conversation."""

    model_config = _STRICT

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[ContentPart] | None = None

    @property
    def text(self) -> str:
        """The content as one string; what is half a surrogate pair is replaced."""
        content = self.content or ""
        text = content if isinstance(content, str) else "\n".join(part.text or "" for part in content)
        return text.encode("utf-8", "replace").decode("utf-8")


class StreamOptions(BaseModel):
    """Options of a stream."""

    model_config = _STRICT

    include_usage: bool | None = None


class ChatRequest(BaseModel):
    """Body of `POST /v1/chat/completions`; the question is the last user message."""

    model_config = _STRICT

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    n: int | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    rerank: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_unsupported(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        for name in _UNSUPPORTED:
            if data.get(name):
                raise ValueError(f"the option {name!r} is not supported; leave it out.")
        if data.get("tool_choice") not in (None, "none", "auto") or data.get("function_call") not in (
            None,
            "none",
        ):
            raise ValueError("tools are not supported; leave 'tool_choice' and 'function_call' out.")
        response_format = data.get("response_format")
        if response_format is not None and response_format != {"type": "text"}:
            raise ValueError("only the response format {'type': 'text'} is supported.")
        if data.get("n") not in (None, 1) or data.get("n") is True:
            raise ValueError(f"'n' is {data['n']!r}; only one answer per request is supported (n=1).")
        return data

    @property
    def question(self) -> str:
        """Text of the last user message, without surrounding white space; empty where there is none."""
        users = [message for message in self.messages if message.role == "user"]
        return users[-1].text.strip() if users else ""

    @property
    def token_limit(self) -> int | None:
        """The caller's limit of generated tokens."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def wants_usage(self) -> bool:
        """The caller asked for a last chunk with the token counts."""
        return bool(self.stream_options and self.stream_options.include_usage)


class SearchBody(BaseModel):
    """Body of `POST /v1/search`."""

    model_config = _STRICT

    query: str
    top_k: Annotated[int, Field(ge=1)] = 10
    # The enumeration comes as a string, which strict validation of Python values would refuse.
    mode: Annotated[SearchMode, Field(strict=False)] = SearchMode.HYBRID
    filter: dict[str, Any] | None = None
    diversity: Annotated[float, Field(ge=0, le=1)] = 0.0
    neighbours: Annotated[int, Field(ge=0, le=3)] = 0
    section: Annotated[bool, Field(description="Whether every hit comes with the parts of its section.")] = False
    rerank: bool = True

    @property
    def text(self) -> str:
        """The query without surrounding white space; what is half a surrogate pair is replaced."""
        return self.query.encode("utf-8", "replace").decode("utf-8").strip()
