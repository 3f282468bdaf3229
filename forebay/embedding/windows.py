"""Windows of late chunking: chunks of one document that the model reads at once, and how their vectors are called.

A vector of late chunking belongs to a chunk's text among its neighbours, not to the text alone. So its key names the
window and the place in it: it changes whenever anything in the window does, and is the same wherever the window stands.
"""

from collections.abc import Iterator, Sequence

from forebay.documents import content_hash

__all__ = ["KEY_DIGITS", "windowed_hashes", "windows_of"]

KEY_DIGITS = 32
"""Leading digits of a text hash that name what the model reads at once: the window, or the text where it stands alone.
"""


def windows_of(n_tokens: Sequence[int], window_tokens: int) -> Iterator[range]:
    """Divide the chunks of a document into windows, as full as they get.

    Args:
        n_tokens: Tokens of each chunk, in the order of the document.
        window_tokens: Most tokens of a window; a chunk that is longer is a window of its own.

    Yields:
        The places of each window's chunks.
    """
    start, held = 0, 0
    for place, count in enumerate(n_tokens):
        if place > start and held + count > window_tokens:
            yield range(start, place)
            start, held = place, 0
        held += count
    if n_tokens:
        yield range(start, len(n_tokens))


def windowed_hashes(texts: Sequence[str], n_tokens: Sequence[int], window_tokens: int) -> Iterator[str]:
    """Give the text hashes of a document's chunks.

    Args:
        texts: What is embedded of each chunk.
        n_tokens: As for `windows_of`.
        window_tokens: As for `windows_of`.

    Yields:
        The hash of the window's texts (`KEY_DIGITS` digits), a colon, and the chunk's number in it.
    """
    for window in windows_of(n_tokens, window_tokens):
        key = content_hash(*(texts[place] for place in window))
        yield from (f"{key}:{number}" for number in range(len(window)))
