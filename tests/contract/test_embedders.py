"""What every embedder promises; the offline and the online side use the same one."""

import numpy as np
import pytest

from forebay.embedding import Embedder
from forebay.embedding.sentence_transformer import load_embedder, resolve_spec
from forebay.embedding.tokens import TokenCounter
from forebay.models import model_folder
from forebay.settings import EmbeddingSettings, PathSettings
from forebay.testing import HashEmbedder

_TEXTS = [
    "the boundary layer on a flat plate",
    "wing",
    "heat transfer to a blunt body in hypersonic flow " * 40,
    "Überschall \U0001f680 流体",
]


def _minilm():
    paths, settings = PathSettings(), EmbeddingSettings()
    return load_embedder(resolve_spec(settings, paths), paths.models)


EMBEDDERS = {"hash": HashEmbedder, "minilm": _minilm}


@pytest.fixture(scope="module", params=EMBEDDERS.values(), ids=EMBEDDERS)
def embedder(request):
    made = request.param()
    assert isinstance(made, Embedder)
    return made


def test_vectors_are_finite_unit_rows_in_order(embedder):
    vectors = embedder.embed_documents(_TEXTS)
    assert vectors.shape == (len(_TEXTS), embedder.spec.dim)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(len(_TEXTS)), abs=1e-4)
    backwards = embedder.embed_documents(_TEXTS[::-1])[::-1]
    assert np.abs(vectors - backwards).max() < 1e-5


def test_the_offline_vector_equals_the_online_vector(embedder):
    together = embedder.embed_documents(_TEXTS)
    alone = np.vstack([embedder.embed_queries([text]) for text in _TEXTS])
    assert (together * alone).sum(axis=1) == pytest.approx(np.ones(len(_TEXTS)), abs=1e-5)


def test_nothing_gives_nothing(embedder):
    assert embedder.embed_documents([]).shape == (0, embedder.spec.dim)


def test_near_texts_are_nearer(embedder):
    question, near, far = embedder.embed_queries(
        ["flow over a wing", "flow over a thin wing", "tax law of small firms"]
    )
    assert question @ near > question @ far


def test_minilm_agrees_with_sentence_transformers_itself():
    from sentence_transformers import SentenceTransformer

    settings = EmbeddingSettings()
    reference = SentenceTransformer(str(model_folder(settings.model, PathSettings().models)), device="cpu")
    expected = reference.encode(_TEXTS, normalize_embeddings=True)
    assert (_minilm().embed_documents(_TEXTS) * expected).sum(axis=1).min() > 0.995


def test_the_light_token_counter_counts_like_the_model():
    minilm = _minilm()
    counter = TokenCounter.of(model_folder(EmbeddingSettings().model, PathSettings().models))
    assert [counter(text) for text in _TEXTS] == [minilm.count_tokens(text) for text in _TEXTS]


def test_lone_surrogates_get_a_vector():
    assert np.isfinite(_minilm().embed_documents(["a \ud800 b"])).all()
