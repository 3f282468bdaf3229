import json

import numpy as np
import pytest

from forebay.candidates import Candidate
from forebay.embedding.choice import candidate_specs, resolve_spec
from forebay.embedding.late_chunking import load_window_embedder
from forebay.embedding.sentence_transformer import load_embedder
from forebay.errors import EmbeddingError, ModelError
from forebay.models import model_folder
from forebay.settings import EmbeddingSettings, IndexSettings, PathSettings
from tests.altered_model import write_shallow_model
from tests.torn_model import write_torn_model

_MODELS = PathSettings().models
_LATE = EmbeddingSettings(engine="late", precision="fp32")
_WINDOW = [
    "Berlin is the capital and largest city of Germany.",
    "Its more than 3.85 million inhabitants make it the most populous city of the European Union.",
    "The city is also one of the states of Germany.",
]


def _spec(model=_LATE.model):
    (spec,) = candidate_specs(_LATE.model_copy(update={"model": str(model)}), model_folder(str(model), _MODELS))
    return spec


@pytest.fixture(scope="module")
def late():
    return load_window_embedder(_spec(), _MODELS)


@pytest.fixture(scope="module")
def plain():
    """The same engine, as questions are embedded."""
    return load_embedder(_spec(), _MODELS)


def test_a_text_alone_has_the_mean_of_its_own_tokens(late):
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(model_folder(_LATE.model, _MODELS)), device="cpu")
    for window in ([_WINDOW[0]], _WINDOW):
        (found,) = late.embed_windows([window])
        # A blank between them gives the same tokens.
        tokens = model.encode(" ".join(window), output_value="token_embeddings").numpy()[1:-1]
        edges = np.cumsum([len(model.tokenizer.tokenize(text)) for text in window])
        assert edges[-1] == len(tokens)
        means = np.stack([part.mean(axis=0) for part in np.split(tokens, edges[:-1])])
        expected = means / np.linalg.norm(means, axis=1, keepdims=True)
        assert found.dtype == np.float32
        assert np.abs(found - expected).max() < 1e-5


def test_questions_are_embedded_as_ever(plain):
    torch = load_embedder(plain.spec.model_copy(update={"engine": "torch"}), _MODELS)
    assert np.abs(plain.embed_queries(_WINDOW) - torch.embed_queries(_WINDOW)).max() < 1e-6


def test_a_text_that_says_it_only_beside_its_neighbour_comes_nearer_to_the_question(late, plain):
    """The example of Günther et al. 2024: the name stands in the first sentence only."""
    (together,) = late.embed_windows([_WINDOW])
    alone = [late.embed_windows([[text]])[0][0] for text in _WINDOW]
    (question,) = plain.embed_queries(["Berlin"])
    for place in (1, 2):
        assert together[place] @ question > alone[place] @ question + 0.05


def test_windows_of_different_sizes_do_not_disturb_each_other(late):
    windows = [_WINDOW, ["wing"], ["flow " * 100, "plate"], _WINDOW[::-1]]
    found = late.embed_windows(windows)
    assert [len(vectors) for vectors in found] == [3, 1, 2, 3]
    for vectors, window in zip(found, windows, strict=True):
        (by_itself,) = late.embed_windows([window])
        assert np.abs(vectors - by_itself).max() < 1e-5
    assert np.abs(found[0] - found[3][::-1]).max() > 1e-2
    assert late.embed_windows([]) == []


def test_a_window_beyond_the_model_is_cut_and_a_text_of_which_nothing_is_left_is_an_error(late):
    (found,) = late.embed_windows([["a \ud800 b", "turbine " * 400]])
    # Two special tokens, three of the first text.
    (all_that_fits,) = late.embed_windows([["a ? b", "turbine " * 251]])
    assert np.abs(found - all_that_fits).max() < 1e-6
    (less,) = late.embed_windows([["a ? b", "turbine " * 250]])
    assert np.abs(found - less).max() > 1e-5
    with pytest.raises(EmbeddingError, match=r"1 of 2 windows have texts without a vector .* 'turbine") as raised:
        late.embed_windows([["wing"], ["turbine " * 400, "flow"]])
    assert raised.value.broken == (1,)
    with pytest.raises(EmbeddingError) as raised:
        late.embed_windows([["wing", ""], ["flow"]])
    assert raised.value.broken == (0,)


def test_a_broken_model_names_the_windows(tmp_path):
    torn = write_torn_model(tmp_path / "torn", "turbine")
    embedder = load_window_embedder(_spec(torn), tmp_path)
    with pytest.raises(EmbeddingError, match="is broken or was changed") as raised:
        embedder.embed_windows([["wing", "flow"], ["a plate", "a turbine"]])
    assert raised.value.broken == (1,)


def _pooling_by_the_first_token(folder):
    path = folder / "1_Pooling" / "config.json"
    pooling = json.loads(path.read_text("utf-8"))
    first = {name: name == "pooling_mode_cls_token" for name in pooling if name.startswith("pooling_mode")}
    path.write_text(json.dumps({**pooling, **first}), "utf-8")


def _pooling_by_two_means(folder):
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": ["mean", "max"]}), "utf-8")


def _with_a_layer_after_pooling(folder):
    modules = json.loads((folder / "modules.json").read_text("utf-8"))
    dense = {"idx": 3, "name": "3", "path": "3_Dense", "type": "sentence_transformers.models.Dense"}
    (folder / "modules.json").write_text(json.dumps([*modules, dense]), "utf-8")


@pytest.mark.parametrize("change", [_pooling_by_the_first_token, _pooling_by_two_means, _with_a_layer_after_pooling])
def test_a_model_that_pools_otherwise_is_refused_before_anything_is_cut(tmp_path, change):
    folder = write_shallow_model(tmp_path / "other")
    assert _spec(folder).is_late
    change(folder)
    with pytest.raises(ModelError, match="takes the mean of its tokens"):
        resolve_spec(_LATE.model_copy(update={"model": str(folder)}), PathSettings(data=tmp_path))
    assert not candidate_specs(EmbeddingSettings(model=str(folder), engine="torch"), folder)[0].is_late


def test_newer_files_say_how_they_pool_in_one_word(tmp_path):
    folder = write_shallow_model(tmp_path / "newer")
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": "mean"}), "utf-8")
    assert _spec(folder).is_late


def test_a_model_that_does_not_say_how_it_pools_is_refused(tmp_path):
    folder = write_shallow_model(tmp_path / "silent")
    (folder / "modules.json").unlink()
    with pytest.raises(ModelError, match="doesn't say how it pools"):
        _spec(folder)


@pytest.mark.parametrize("precision", ["int8", "fp8"])
def test_late_chunking_is_torchs_alone(precision):
    spec = _spec().model_copy(update={"precision": precision})
    with pytest.raises(ModelError, match=f"'late' doesn't compute in '{precision}'"):
        load_window_embedder(spec, _MODELS)


def test_only_who_names_it_gets_it_and_a_corpus_keeps_it(tmp_path):
    paths = PathSettings(data=tmp_path)
    folder = model_folder(_LATE.model, _MODELS)
    assert "late" not in {spec.engine for spec in candidate_specs(EmbeddingSettings(), folder)}
    ways = {(spec.engine, spec.precision) for spec in candidate_specs(EmbeddingSettings(engine="late"), folder)}
    assert ("late", "fp32") in ways
    assert {engine for engine, _ in ways} == {"late"}
    late = resolve_spec(_LATE, paths)
    assert late.is_late
    Candidate(embedding=late, index=IndexSettings(), layout="1", shards={}, table_versions={}).save(paths.shards)
    assert resolve_spec(EmbeddingSettings(), paths) == late
    assert not resolve_spec(EmbeddingSettings(engine="torch", precision="fp32"), paths).is_late
