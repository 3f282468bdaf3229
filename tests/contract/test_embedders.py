"""What every embedder promises, on every engine that runs here; the offline and the online side use the same one."""

import numpy as np
import pytest

from forebay.embedding import Embedder
from forebay.embedding.choice import MIN_COSINE, MIN_MEAN_COSINE, candidate_specs
from forebay.embedding.distillation import distilled_model, static_spec
from forebay.embedding.parity_texts import PARITY_TEXTS
from forebay.embedding.sentence_transformer import SentenceTransformerEmbedder, engine_of, load_embedder
from forebay.embedding.tokens import TokenCounter
from forebay.errors import EmbeddingError
from forebay.models import model_folder
from forebay.settings import EmbeddingSettings, PathSettings
from forebay.testing import HashEmbedder
from tests.torn_model import write_torn_model

_TEXTS = [
    "the boundary layer on a flat plate",
    "wing",
    "heat transfer to a blunt body in hypersonic flow " * 40,
    "Überschall \U0001f680 流体",
]
_FOLDER = model_folder(EmbeddingSettings().model, PathSettings().models)
_SPECS = {f"{spec.engine}-{spec.precision}": spec for spec in candidate_specs(EmbeddingSettings(), _FOLDER)}
# Batches of another shape are computed in another order; whatever is rounded to fewer bits may then fall either way.
_TOLERANCES = {"fp32": 1e-5, "fp16": 1e-3, "bf16": 1e-3, "int8": 1e-3}


def _embedder(way):
    spec = _SPECS[way] if way in _SPECS else static_spec(EmbeddingSettings(engine="static"), PathSettings().models)
    return load_embedder(spec, PathSettings().models)


@pytest.fixture(scope="module", params=["hash", "static", *_SPECS])
def embedder(request):
    made = HashEmbedder() if request.param == "hash" else _embedder(request.param)
    assert isinstance(made, Embedder)
    return made


@pytest.fixture(scope="module", params=["static", *_SPECS])
def model(request):
    return _embedder(request.param)


@pytest.fixture(scope="module")
def reference():
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(_FOLDER), device="cpu")


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
    tolerance = _TOLERANCES[embedder.spec.precision]
    assert (together * alone).sum(axis=1) == pytest.approx(np.ones(len(_TEXTS)), abs=tolerance)


def test_nothing_gives_nothing(embedder):
    assert embedder.embed_documents([]).shape == (0, embedder.spec.dim)


def test_near_texts_are_nearer(embedder):
    question, near, far = embedder.embed_queries(
        ["flow over a wing", "flow over a thin wing", "tax law of small firms"]
    )
    assert question @ near > question @ far


@pytest.mark.parametrize("way", _SPECS)
def test_every_engine_agrees_with_sentence_transformers_itself(way, reference):
    expected = reference.encode(list(PARITY_TEXTS), normalize_embeddings=True)
    cosines = (_embedder(way).embed_documents(PARITY_TEXTS) * expected).sum(axis=1)
    assert cosines.mean() >= MIN_MEAN_COSINE
    assert cosines.min() >= MIN_COSINE
    if way.endswith("-fp32"):
        # So near that the ranking of a corpus needs no test of its own (tests/integration/test_engines.py).
        assert cosines.min() > 1 - _TOLERANCES["fp32"]


def test_the_static_engine_embeds_as_model2vec_itself():
    from model2vec import StaticModel

    static, library = _embedder("static"), StaticModel.from_pretrained(distilled_model(_FOLDER, PathSettings().models))
    # The library cuts long texts by their characters, and gives texts of unknown tokens no vector.
    texts = [text for text in PARITY_TEXTS if static.count_tokens(text) < 100]
    expected = library.encode(texts, use_multiprocessing=False).astype(np.float32)
    lengths = np.linalg.norm(expected, axis=1)
    known = np.flatnonzero(lengths)
    assert len(known) > 20
    cosines = (static.embed_documents(texts) * expected).sum(axis=1)[known] / lengths[known]
    # Its means are computed in 16 bits.
    assert cosines.min() > 1 - 1e-5


def test_more_texts_than_are_tokenized_at_once_stay_in_order(model, monkeypatch):
    expected = model.embed_documents(PARITY_TEXTS)
    monkeypatch.setattr("forebay.embedding.sentence_transformer._WINDOW_TEXTS", 5)
    cosines = (model.embed_documents(PARITY_TEXTS) * expected).sum(axis=1)
    assert cosines.min() > 1 - _TOLERANCES[model.spec.precision]


def test_tokens_are_counted_as_transformers_counts_them(model, reference):
    counter = TokenCounter.of(_FOLDER)
    expected = [len(reference.tokenizer.tokenize(text)) for text in _TEXTS]
    assert [counter(text) for text in _TEXTS] == expected
    assert [model.count_tokens(text) for text in _TEXTS] == expected


@pytest.mark.parametrize(
    ("text", "equal"),
    [
        ("", " \n\t"),
        ("\U0001f680" * 3, "\U0001f680" * 3),
        ("a \ud800 b", "a ? b"),
        ("turbine " * 125_000, "turbine " * 300),
        ("x" * 1_000_000, "x" * 200),
        ("\0\ufffd\u200b", ""),
    ],
    ids=["empty", "emoji", "surrogate", "million-characters", "million-letters", "control-characters"],
)
def test_odd_texts_have_the_vector_of_what_is_left_of_them(model, text, equal):
    vectors = model.embed_documents([text, "wing", equal])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(3), abs=1e-4)
    assert vectors[0] @ vectors[2] == pytest.approx(1, abs=_TOLERANCES[model.spec.precision])
    assert vectors[0] @ vectors[1] < 0.9


@pytest.fixture(scope="module")
def torn_model(tmp_path_factory):
    return write_torn_model(tmp_path_factory.mktemp("torn") / "model", "turbine")


@pytest.mark.parametrize("way", _SPECS)
def test_a_broken_model_is_an_error_that_names_the_text_and_no_other(torn_model, way, tmp_path):
    specs = candidate_specs(EmbeddingSettings(model=str(torn_model)), torn_model)
    spec = next(spec for spec in specs if f"{spec.engine}-{spec.precision}" == way)
    embedder = load_embedder(spec, tmp_path)
    with pytest.raises(EmbeddingError, match=r"1 of 3 texts have no vector .* the first 'a turbine'") as raised:
        embedder.embed_documents(["wing", "a turbine", "flow"])
    assert raised.value.broken == (1,)
    expected = load_embedder(_SPECS[way], PathSettings().models).embed_documents(["wing", "flow"])
    cosines = (embedder.embed_documents(["wing", "flow"]) * expected).sum(axis=1)
    assert cosines == pytest.approx(np.ones(2), abs=_TOLERANCES[spec.precision])


@pytest.mark.parametrize("way", [way for way in _SPECS if way.startswith("openvino")])
def test_many_batches_have_the_vectors_of_few_in_their_order(way):
    embedder = SentenceTransformerEmbedder(
        _SPECS[way], _FOLDER, engine_of(_SPECS[way], _FOLDER, PathSettings().models, threads=2), batch_tokens=64
    )
    texts = [f"wing {number} " * (1 + number % 9) for number in range(80)]
    together = embedder.embed_documents(texts)
    alone = np.concatenate([embedder.embed_documents([text]) for text in texts])
    assert (together * alone).sum(axis=1) == pytest.approx(
        np.ones(len(texts)), abs=_TOLERANCES[embedder.spec.precision]
    )
