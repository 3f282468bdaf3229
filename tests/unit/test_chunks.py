import pytest

from forebay.chunks import ChunkLimits, chunk_limits
from forebay.errors import ConfigurationError
from forebay.settings import ChunkSettings


@pytest.mark.parametrize(("model_tokens", "expected"), [(256, 250), (512, 506), (128, 122)])
def test_chunks_are_as_long_as_the_model_takes(model_tokens, expected):
    assert chunk_limits(ChunkSettings(), model_tokens, is_late=False).max_tokens == expected


def test_shorter_chunks_can_be_asked_for():
    found = chunk_limits(ChunkSettings(max_tokens=64, overlap_tokens=8), 256, is_late=False)
    assert found == ChunkLimits(max_tokens=64, overlap_tokens=8, window_tokens=None)


@pytest.mark.parametrize(("model_tokens", "expected"), [(256, 62), (512, 126), (8192, 256)])
def test_with_late_chunking_several_chunks_fit_the_model_and_none_overlap(model_tokens, expected):
    found = chunk_limits(ChunkSettings(), model_tokens, is_late=True)
    assert found == ChunkLimits(max_tokens=expected, overlap_tokens=0, window_tokens=model_tokens - 6)
    assert chunk_limits(ChunkSettings(max_tokens=100), model_tokens, is_late=True).max_tokens == 100


@pytest.mark.parametrize("is_late", [False, True])
def test_longer_chunks_than_the_model_takes_are_refused(is_late):
    with pytest.raises(ConfigurationError, match="is 251, but the embedding model takes 250"):
        chunk_limits(ChunkSettings(max_tokens=251), 256, is_late=is_late)
