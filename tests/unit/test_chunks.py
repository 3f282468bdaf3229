import pytest

from forebay.chunks import chunk_limits
from forebay.errors import ConfigurationError
from forebay.settings import ChunkSettings


@pytest.mark.parametrize(("model_tokens", "expected"), [(256, 250), (512, 506), (128, 122)])
def test_chunks_are_as_long_as_the_model_takes(model_tokens, expected):
    assert chunk_limits(ChunkSettings(), model_tokens).max_tokens == expected


def test_shorter_chunks_can_be_asked_for():
    assert chunk_limits(ChunkSettings(max_tokens=64, overlap_tokens=8), 256).model_dump() == {
        "max_tokens": 64,
        "overlap_tokens": 8,
    }


def test_longer_chunks_than_the_model_takes_are_refused():
    with pytest.raises(ConfigurationError, match="is 251, but the embedding model takes 250"):
        chunk_limits(ChunkSettings(max_tokens=251), 256)
