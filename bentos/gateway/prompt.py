"""What the generator is asked: the passages' sentences that concern the question, and the question."""

from collections.abc import Collection, Sequence

from bentos.gateway.passages import OMITTED, Passage, best_sentences

__all__ = ["build_messages"]

_INSTRUCTION = (
    "You answer questions from the numbered texts you are given, and from nothing else. "
    "Answer in one to three short sentences, in the words of the texts."
)
# What English takes in the tokenizers of today's models; the byte count makes up for scripts of few letters a token.
_BYTES_PER_TOKEN = 4
# What may stand before each sentence, ` …`.
_MARK_BYTES = 4


def build_messages(passages: Sequence[Passage], question: str, *, max_tokens: int) -> list[dict[str, str]]:
    """Build the chat messages.

    A small model reads a short text better than a long one, and on a CPU reading is most of the time that an
    answer takes: so each passage is cut down to the sentences that share words with the question, and their
    neighbours, until `max_tokens` are used. An ellipsis stands where sentences between them are left out, and where
    the only one that fits in part is cut; at the ends of passages it made a small model answer less
    (docs/architecture.md).

    Args:
        passages: Best first; numbered from 1 in this order.
        question: The user's question.
        max_tokens: Budget of all passages' texts together, estimated: a token for every 4 bytes of UTF-8.
    """
    numbered = [f"[{n}] {text}" for n, text in enumerate(_focus(passages, question, max_tokens), start=1) if text]
    texts = "\n\n".join(numbered)
    return [
        {"role": "system", "content": _INSTRUCTION},
        {"role": "user", "content": f"{texts}\n\nQuestion: {question}\nAnswer from the texts above:"},
    ]


def _focus(passages: Sequence[Passage], question: str, max_tokens: int) -> list[str]:
    chosen: list[set[int]] = [set() for _ in passages]
    ranked = best_sentences(passages, question)
    order = [(p, s) for _, p, s in ranked] + [(p, s + 1) for _, p, s in ranked]
    order += [(p, passage.first) for p, passage in enumerate(passages)]
    used, max_bytes = 0, max_tokens * _BYTES_PER_TOKEN
    for p, s in order:
        sentences = passages[p].sentences
        if s >= len(sentences) or s in chosen[p]:
            continue
        length = len(sentences[s].text.encode()) + _MARK_BYTES
        if used + length > max_bytes:
            if used == 0:
                cut = sentences[s].text.encode()[: max_bytes - _MARK_BYTES].decode(errors="ignore")
                return [f"{cut} {OMITTED}" if position == p else "" for position in range(len(passages))]
            continue
        chosen[p].add(s)
        used += length
    return [_with_marks(passage, picked) for passage, picked in zip(passages, chosen, strict=True)]


def _with_marks(passage: Passage, picked: Collection[int]) -> str:
    """Put the chosen sentences together, with a mark between two that don't follow each other in the passage."""
    pieces: list[str] = []
    for s in sorted(picked):
        if pieces and s - 1 not in picked:
            pieces.append(OMITTED)
        pieces.append(passage.sentences[s].text)
    return " ".join(pieces)
