"""A model that is broken for one word."""

import shutil

from safetensors.torch import load_file, save_file

from forebay.embedding.tokens import loaded_tokenizer
from forebay.models import model_folder
from forebay.settings import EmbeddingSettings, PathSettings


def write_torn_model(folder, word):
    """Copy the default model; the embedding of one word is not a number."""
    shutil.copytree(model_folder(EmbeddingSettings().model, PathSettings().models), folder)
    weights = load_file(folder / "model.safetensors")
    weights["embeddings.word_embeddings.weight"][loaded_tokenizer(folder).token_to_id(word)] = float("nan")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder
