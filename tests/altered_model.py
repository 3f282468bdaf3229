"""Another embedding model: the default one with fewer layers, which takes shorter texts."""

import json
import shutil

from forebay.models import model_folder
from forebay.settings import EmbeddingSettings, PathSettings


def write_shallow_model(folder, layers=5, max_tokens=128):
    """Copy the default model without its last layers: other vectors, of much the same meaning."""
    shutil.copytree(model_folder(EmbeddingSettings().model, PathSettings().models), folder)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": layers}), "utf-8")
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": max_tokens}), "utf-8")
    return folder
