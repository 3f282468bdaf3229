import shutil
import sys

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from forebay.candidates import Candidate
from forebay.embedding.choice import resolve_spec
from forebay.embedding.distillation import distilled_model
from forebay.embedding.sentence_transformer import load_embedder
from forebay.errors import ModelError, SpecMismatchError
from forebay.models import folder_checksum, model_folder
from forebay.settings import EmbeddingSettings, IndexSettings, PathSettings
from tests.torn_model import write_torn_model

_FOLDER = model_folder(EmbeddingSettings().model, PathSettings().models)


@pytest.fixture(scope="module")
def small_model(tmp_path_factory):
    """One layer of 32 numbers with the default model's tokenizer: distilled in seconds."""
    folder = tmp_path_factory.mktemp("small") / "model"
    torch.manual_seed(7)
    config = BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
    BertModel(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "sentence_bert_config.json"):
        shutil.copyfile(_FOLDER / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory, small_model):
    home = tmp_path_factory.mktemp("home")
    distilled_model(small_model, PathSettings(home=home).models)
    return home


@pytest.fixture
def paths(cache, tmp_path):
    return PathSettings(home=cache, data=tmp_path / "data")


def _settings(model, **more):
    return EmbeddingSettings(**{"model": str(model), "engine": "static", **more})


def test_a_distillation_has_the_same_identity_wherever_it_is_made(small_model, paths, tmp_path):
    copy = shutil.copytree(small_model, tmp_path / "elsewhere" / "copy")
    here = distilled_model(small_model, paths.models)
    there = distilled_model(copy, tmp_path / "other" / "models")
    assert folder_checksum(here) == folder_checksum(there)
    assert {path.name for path in there.iterdir()} == {"model.safetensors", "tokenizer.json", "config.json"}
    assert resolve_spec(_settings(small_model), paths).revision == folder_checksum(here)


def test_a_model_is_distilled_once(small_model, paths):
    before = (distilled_model(small_model, paths.models) / "model.safetensors").stat()
    after = (distilled_model(small_model, paths.models) / "model.safetensors").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_the_spec_says_what_the_table_is(small_model, paths):
    spec = resolve_spec(_settings(small_model), paths)
    assert (spec.engine, spec.precision, spec.dim) == ("static", "fp32", 32)
    vectors = load_embedder(spec, paths.models).embed_documents(["a wing", "flow"])
    assert vectors.shape == (2, 32)


def test_texts_without_a_known_token_share_the_unknown_tokens_vector(small_model, paths):
    embedder = load_embedder(resolve_spec(_settings(small_model), paths), paths.models)
    nothing, unknown, known = embedder.embed_documents(["", "\U0001f680 \U0001f680", "wing \U0001f680"])
    assert np.array_equal(nothing, unknown)
    assert known == pytest.approx(embedder.embed_queries(["wing"])[0], abs=1e-6)


def test_a_changed_table_is_not_used(small_model, paths, tmp_path):
    own = PathSettings(home=tmp_path / "home")
    shutil.copytree(paths.models, own.models)
    spec = resolve_spec(_settings(small_model), own)
    (table,) = own.models.glob("exports/static-*/model.safetensors")
    written = table.read_bytes()
    table.write_bytes(written[:-1] + bytes([written[-1] ^ 1]))
    folder_checksum.cache_clear()
    with pytest.raises(SpecMismatchError, match="revision"):
        load_embedder(spec, own.models)


def test_a_model_with_broken_vectors_has_no_static_form(tmp_path):
    model = write_torn_model(tmp_path / "model", "turbine")
    with pytest.raises(ModelError, match="some of its weights are not finite"):
        distilled_model(model, tmp_path / "models")
    assert not list((tmp_path / "models" / "exports").iterdir())


def test_without_the_library_the_error_names_the_extra(small_model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "model2vec", None)
    with pytest.raises(ModelError, match="install the extra `embedding-static`"):
        distilled_model(small_model, tmp_path / "models")


def test_the_static_engine_has_one_precision(small_model, paths):
    with pytest.raises(ModelError, match="'static' doesn't compute in 'int8'"):
        resolve_spec(_settings(small_model, precision="int8"), paths)


def test_a_static_corpus_stays_static_until_another_engine_is_named(small_model, paths):
    static = resolve_spec(_settings(small_model), paths)
    Candidate(embedding=static, index=IndexSettings(), layout="1", shards={}, table_versions={}).save(paths.shards)
    assert resolve_spec(EmbeddingSettings(), paths) == static
    assert resolve_spec(EmbeddingSettings(model=str(small_model)), paths) == static
    # `auto` never chooses it by itself, even where the corpus has it.
    assert resolve_spec(_settings(small_model, engine="auto", precision="fp32"), paths).engine != "static"
