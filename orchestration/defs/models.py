"""The generator's checkpoints: bf16 from GGUF, and AWQ, made and checked in an environment of its own."""

import os
from pathlib import Path

import dagster as dg

from forebay.generation_models import ensure_base_checkpoint, quantization_extras, quantization_python
from forebay.settings import CorpusSettings, GeneratorSettings, PathSettings
from orchestration.sources import local_folders

__all__ = ["AWQ_CHECK", "QuantizeConfig", "generator_awq_checkpoint", "generator_checkpoint"]

AWQ_CHECK = "awq_answers_like_the_base"
"""The check that the quantization job reports; a checkpoint that fails it is not served."""

_ROOT = Path(__file__).resolve().parent.parent.parent


class QuantizeConfig(dg.Config):
    """What the quantization looks at."""

    calibration: str = ""
    """Texts to calibrate with, a JSONL file or a folder; empty for the corpus's first local folder, else the sample."""

    def path(self) -> Path:
        """Give the texts."""
        if self.calibration:
            return Path(self.calibration).absolute()
        folders = local_folders(CorpusSettings().sources)
        return folders[0] if folders else _ROOT / "samples" / "cranfield" / "corpus.jsonl"


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
