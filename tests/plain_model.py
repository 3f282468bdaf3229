"""The default model as every machine runs it."""

from forebay.embedding.choice import candidate_specs
from forebay.embedding.sentence_transformer import load_embedder
from forebay.models import model_folder
from forebay.settings import EmbeddingSettings, PathSettings


def plain_embedder():
    """Load the default model with torch in fp32."""
    settings, models = EmbeddingSettings(engine="torch", precision="fp32"), PathSettings().models
    (spec,) = candidate_specs(settings, model_folder(settings.model, models))
    return load_embedder(spec, models)
