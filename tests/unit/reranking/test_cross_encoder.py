import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import CrossEncoder

from forebay.errors import ModelError
from forebay.models import model_folder
from forebay.reranking.cross_encoder import CrossEncoderScorer, check_cross_encoder, load_reranker
from forebay.settings import EmbeddingSettings, PathSettings, ServingSettings
from tests.cross_encoder import rewrite_config, write_cross_encoder

_TEXTS = ["lift", "the drag of a wing", "heat 42", "a shock wave on a cone " * 20, "", "\u00e4 plate in a flow"]
_PAIRS = [(question, text) for question in ("wing lift", "shock " * 40) for text in _TEXTS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_cross_encoder(tmp_path_factory.mktemp("cross-encoder"))


@pytest.fixture(scope="module")
def scorer(folder):
    return CrossEncoderScorer(folder)


def test_scores_are_those_of_sentence_transformers_however_pairs_are_batched(folder, scorer):
    expected = CrossEncoder(str(folder), local_files_only=True).predict([list(pair) for pair in _PAIRS])
    assert np.ptp(expected) > 0.1
    encoded = scorer.encode(_PAIRS)
    assert {len(pair["input_ids"]) for pair in encoded} >= {11, 64}
    together = scorer.score(encoded)
    alone = np.concatenate([scorer.score([pair]) for pair in encoded])
    assert (together.dtype, together.shape) == (np.float32, (len(_PAIRS),))
    np.testing.assert_allclose(together, expected, atol=1e-5)
    np.testing.assert_allclose(alone, expected, atol=1e-5)


def test_half_a_surrogate_pair_has_a_score(scorer):
    assert np.isfinite(scorer.score(scorer.encode([("wing \ud800", "lift \udfff")]))).all()


def test_a_model_that_is_set_is_loaded_and_none_is_none(folder, tmp_path):
    paths = PathSettings(data=tmp_path)
    assert load_reranker(ServingSettings(), paths) is None
    # As sentence-transformers itself saves it.
    CrossEncoder(str(folder), local_files_only=True).save_pretrained(str(tmp_path / "saved"))
    assert load_reranker(ServingSettings(reranker=str(tmp_path / "saved")), paths) is not None
    loaded = load_reranker(ServingSettings(reranker=str(folder), reranker_candidates=7), paths)
    assert loaded.candidates == 7


def _without_head(folder):
    weights = load_file(folder / "model.safetensors")
    save_file({name: w for name, w in weights.items() if "classifier" not in name}, folder / "model.safetensors")


def _as_pickle(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def _cut_short(folder):
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])


def _with_another_module(folder):
    modules = [{"idx": number, "name": str(number), "path": path} for number, path in enumerate(["", "1_Dense"])]
    (folder / "modules.json").write_text(json.dumps(modules))


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (_with_another_module, "modules beside its transformer"),
        (_without_head, "without the weights of its head"),
        (_as_pickle, "weights as safetensors"),
        (_cut_short, "can't be read"),
        (lambda folder: (folder / "config.json").write_text("[]"), "can't be read"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "has no tokenizer.json"),
        (lambda folder: rewrite_config(folder, architectures=["BertModel"]), r"is no cross-encoder .*BertModel"),
        (lambda folder: rewrite_config(folder, hidden_size=32), "can't be loaded"),
        (lambda folder: write_cross_encoder(folder, labels=3), "3 labels"),
    ],
)
def test_what_can_not_rerank_is_refused_by_name(tmp_path, spoil, expected):
    write_cross_encoder(tmp_path)
    spoil(tmp_path)
    with pytest.raises(ModelError, match=expected):
        load_reranker(ServingSettings(reranker=str(tmp_path)), PathSettings(data=tmp_path))


def test_code_beside_a_model_is_not_run(tmp_path):
    write_cross_encoder(tmp_path)
    rewrite_config(tmp_path, auto_map={"AutoConfig": "own.Config"}, model_type="own")
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(ModelError, match="can't be loaded"):
        CrossEncoderScorer(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_an_embedding_model_is_no_reranker():
    """Transformers would give it a head of random numbers, and warn."""
    with pytest.raises(ModelError, match="is no cross-encoder"):
        check_cross_encoder(model_folder(EmbeddingSettings().model, PathSettings().models))
