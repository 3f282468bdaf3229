"""What is made of models: the generator's checkpoints (bf16 from GGUF, AWQ) and the embedding model's static form."""

import os
from pathlib import Path

import dagster as dg

from forebay.embedding.choice import resolve_spec
from forebay.generation_models import ensure_base_checkpoint, quantization_extras, quantization_python
from forebay.settings import CorpusSettings, EmbeddingSettings, GeneratorSettings, PathSettings
from orchestration.sources import local_folders
from quality.static_loss import static_loss

__all__ = [
    "AWQ_CHECK",
    "QuantizeConfig",
    "generator_awq_checkpoint",
    "generator_checkpoint",
    "static_embedding_model",
]

AWQ_CHECK = "awq_answers_like_the_base"
"""The check that the quantization job reports; a checkpoint that fails it is not served."""

_ROOT = Path(__file__).resolve().parent.parent.parent
_SAMPLE = _ROOT / "samples" / "cranfield"


class QuantizeConfig(dg.Config):
    """What the quantization looks at."""

    calibration: str = ""
    """Texts to calibrate with, a JSONL file or a folder; empty for the corpus's first local folder, else the sample."""

    def path(self) -> Path:
        """Give the texts."""
        if self.calibration:
            return Path(self.calibration).absolute()
        folders = local_folders(CorpusSettings().sources)
        return folders[0] if folders else _SAMPLE / "corpus.jsonl"


@dg.asset(kinds={"python", "torch"}, group_name="models")
def generator_checkpoint() -> dg.MaterializeResult:
    """The generator's unquantized checkpoint (bf16 safetensors), converted once into the model cache."""
    folder = ensure_base_checkpoint(GeneratorSettings(), PathSettings())
    weights = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    return dg.MaterializeResult(metadata={"folder": dg.MetadataValue.path(str(folder)), "bytes": weights})


@dg.asset(
    deps=[generator_checkpoint],
    kinds={"python", "torch"},
    group_name="models",
    check_specs=[dg.AssetCheckSpec(AWQ_CHECK, asset="generator_awq_checkpoint")],
)
def generator_awq_checkpoint(
    context: dg.AssetExecutionContext, pipes: dg.PipesSubprocessClient, config: QuantizeConfig
) -> dg.MaterializeResult:
    """The AWQ checkpoint and what its check found; one that failed is kept but not served."""
    extras = {
        **quantization_extras(GeneratorSettings(), PathSettings(), config.path()),
        "asset_check": AWQ_CHECK,
    }
    return pipes.run(
        command=[str(quantization_python()), "-m", "model_jobs.quantize_generator.main"],
        context=context,
        extras=extras,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
    ).get_materialize_result()


@dg.asset(kinds={"python", "torch"}, group_name="models")
def static_embedding_model() -> dg.MaterializeResult:
    """The embedding model distilled into a table of token vectors, and what that loses on the sample corpus."""
    paths, settings = PathSettings(), EmbeddingSettings()
    static = resolve_spec(settings.model_copy(update={"engine": "static", "precision": "auto"}), paths)
    full = resolve_spec(settings.model_copy(update={"engine": "auto", "precision": "auto"}), paths)
    loss = static_loss(full, static, paths, _SAMPLE)
    return dg.MaterializeResult(metadata={"revision": static.revision, **loss.model_dump()})
