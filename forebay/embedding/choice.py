"""Which engine embeds a corpus: what its vectors were made with, else what a calibration found fastest here.

Vectors of two engines are not mixed, so another choice means that everything is embedded again. Hence a corpus that
has an index keeps its engine on whatever machine it is, and a machine calibrates once for each model.
"""

import importlib.util
import json
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from forebay.canary.trials import CanaryRegistry
from forebay.candidates import Candidate
from forebay.documents import content_hash
from forebay.embedding.distillation import static_spec
from forebay.embedding.late_engine import require_mean_pooling
from forebay.embedding.parity_texts import PARITY_TEXTS
from forebay.embedding.sentence_transformer import (
    PRECISIONS,
    SentenceTransformerEmbedder,
    arithmetic_error,
    engine_of,
)
from forebay.embedding.spec import EmbeddingSpec
from forebay.errors import EmbeddingError, ModelError, ReleaseError
from forebay.machine import computes_on_gpu, cpu_flags, multiplies_bf16
from forebay.models import folder_checksum, model_folder
from forebay.releases import ReleaseManifest, ReleaseRegistry
from forebay.settings import EmbeddingSettings, PathSettings

__all__ = [
    "MIN_COSINE",
    "MIN_MEAN_COSINE",
    "Calibration",
    "Measured",
    "calibrate",
    "candidate_specs",
    "corpus_specs",
    "resolve_spec",
    "settings_of_corpus",
]

logger = logging.getLogger("forebay.embedding")

MIN_MEAN_COSINE = 0.999
"""Least mean cosine to torch in fp32 over `PARITY_TEXTS` of an engine that may be chosen."""
MIN_COSINE = 0.995
"""Least cosine of a single text."""

# What is hardly faster is not worth another rounding.
_WORTHWHILE = 1.1
_ROUNDS = 3
_VERSION = 1


class Measured(BaseModel):
    """What a calibration found of one engine."""

    engine: str
    """As in `EmbeddingSpec`."""
    precision: str
    """As in `EmbeddingSpec`."""
    texts_per_s: float = 0.0
    """Parity texts embedded in a second."""
    cos_mean: float = 0.0
    """Mean cosine to torch in fp32."""
    cos_min: float = 0.0
    """Least cosine to torch in fp32."""
    problem: str = ""
    """Why it can't be used; empty where it can."""

    @property
    def has_parity(self) -> bool:
        """Say whether its vectors are near enough to torch's in fp32."""
        return not self.problem and self.cos_mean >= MIN_MEAN_COSINE and self.cos_min >= MIN_COSINE


class Calibration(BaseModel):
    """The engine chosen for one model on one machine, and why."""

    chosen: EmbeddingSpec
    """Spec with the engine."""
    why: str
    """A sentence with the figures."""
    measured: list[Measured]
    """All that were tried."""


def resolve_spec(settings: EmbeddingSettings, paths: PathSettings) -> EmbeddingSpec:
    """Give the identity of the configured model, with the engine and the precision that its corpus is embedded with.

    Raises:
        ModelError: the model is not there, its files don't match their checksums, or no engine runs it as configured.
    """
    settings = settings_of_corpus(settings, paths)
    if settings.engine == "static":
        return static_spec(settings, paths.models)
    folder = model_folder(settings.model, paths.models)
    known = (spec for spec in corpus_specs(paths) if _is_meant(spec, settings, folder))
    if (kept := next(known, None)) is not None:
        return kept
    candidates = candidate_specs(settings, folder)
    return candidates[0] if len(candidates) == 1 else _calibrated(candidates, folder, paths)


def _is_meant(made: EmbeddingSpec, settings: EmbeddingSettings, folder: Path) -> bool:
    """Say whether vectors were made as configured, be it in a way that `auto` would not choose on this machine."""
    if settings.engine not in ("auto", made.engine) or settings.precision not in ("auto", made.precision):
        return False
    named = settings.model_copy(update={"engine": made.engine, "precision": made.precision})
    return made in candidate_specs(named, folder)


def settings_of_corpus(settings: EmbeddingSettings, paths: PathSettings) -> EmbeddingSettings:
    """Give the settings with the corpus's own model where none is named, and with `static` or `late` likewise.

    So a re-embedded corpus keeps its new model. The other engines need no name: they are chosen among.
    """
    made = next(iter(corpus_specs(paths)), None)
    if made is None:
        return settings
    named = settings.model_fields_set
    if "model" not in named:
        settings = settings.model_copy(update={"model": made.model})
    if "engine" not in named and made.model == settings.model and made.engine in ("static", "late"):
        settings = settings.model_copy(update={"engine": made.engine})
    return settings


def corpus_specs(paths: PathSettings) -> list[EmbeddingSpec]:
    """List what a corpus is embedded with: releases on trial, its current one, then its candidate for the next one.

    Empty before the first run. The release goes before the candidate, so that after a rollback the corpus goes on with
    its model.
    """
    releases = [
        _load(release_id, paths)
        for release_id in (*_on_trial(paths), ReleaseRegistry(paths.releases).current_id())
        if release_id
    ]
    return [made.embedding for made in (*releases, Candidate.load(paths.shards)) if made is not None]


def _on_trial(paths: PathSettings) -> tuple[str, ...]:
    """Name the release that waits, and the canary: they are to be the next current ones."""
    try:
        canary = CanaryRegistry(paths.releases).current()
    except ReleaseError:
        return ()
    return () if canary is None else (canary.waiting, canary.release_id)


def _load(release_id: str, paths: PathSettings) -> ReleaseManifest | None:
    try:
        return ReleaseRegistry(paths.releases).load(release_id)
    except ReleaseError:
        # The pipeline writes a damaged manifest anew; it must not fail for it.
        return None


def candidate_specs(settings: EmbeddingSettings, folder: Path) -> list[EmbeddingSpec]:
    """List what could embed with these settings on this machine, the plainest first.

    Raises:
        ModelError: nothing could.
    """
    try:
        sentence = json.loads((folder / "sentence_bert_config.json").read_text("utf-8"))
        transformer = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError) as exc:
        raise ModelError(
            f"{folder} is no sentence-transformers model: config.json or sentence_bert_config.json is missing or can't "
            "be read."
        ) from exc
    if settings.engine == "late":
        require_mean_pooling(folder)
    base = EmbeddingSpec(
        model=settings.model,
        revision=folder_checksum(folder),
        dim=int(transformer["hidden_size"]),
        max_tokens=int(sentence["max_seq_length"]),
        precision="fp32",
    )
    found = [
        base.model_copy(update={"engine": engine, "precision": precision})
        for engine, precision in _ways(is_late=settings.engine == "late")
        if settings.engine in ("auto", engine) and settings.precision in ("auto", precision)
    ]
    # What is named is meant, even where it is slow.
    if not found and "auto" not in (settings.engine, settings.precision):
        if settings.precision not in PRECISIONS[settings.engine]:
            raise arithmetic_error(settings.engine, settings.precision)
        return [base.model_copy(update={"engine": settings.engine, "precision": settings.precision})]
    if not found:
        raise ModelError(
            f"no engine runs here with the settings engine {settings.engine!r} and precision {settings.precision!r}; "
            "set one of them to 'auto'."
        )
    return found


def calibrate(candidates: list[EmbeddingSpec], folder: Path, models: Path) -> Calibration:
    """Time the candidates on `PARITY_TEXTS` and compare their vectors with torch's in fp32.

    Args:
        candidates: What may be chosen.
        folder: The model's files.
        models: The model cache.

    Raises:
        ModelError: none of them has parity.
    """
    plain = candidates[0].model_copy(update={"engine": "torch", "precision": "fp32"})
    reference = _embedder(plain, folder, models).embed_documents(PARITY_TEXTS)
    embedders: dict[int, SentenceTransformerEmbedder] = {}
    measured: list[Measured] = []
    for number, spec in enumerate(candidates):
        try:
            embedder = _embedder(spec, folder, models)
            cosines = (embedder.embed_documents(PARITY_TEXTS) * reference).sum(axis=1)
        except (EmbeddingError, ModelError, RuntimeError) as exc:
            measured.append(Measured(engine=spec.engine, precision=spec.precision, problem=str(exc)))
            continue
        embedders[number] = embedder
        mean, least = float(cosines.mean()), float(cosines.min())
        measured.append(Measured(engine=spec.engine, precision=spec.precision, cos_mean=mean, cos_min=least))
    for number, texts_per_s in _best_rates(embedders).items():
        measured[number] = measured[number].model_copy(update={"texts_per_s": round(texts_per_s, 1)})
    return _chosen(candidates, measured)


def _chosen(candidates: list[EmbeddingSpec], measured: list[Measured]) -> Calibration:
    chosen, best = candidates[0], 0.0
    for spec, found in zip(candidates, measured, strict=True):
        if found.has_parity and found.texts_per_s > best * _WORTHWHILE:
            chosen, best = spec, found.texts_per_s
    figures = "; ".join(_sentence(found) for found in measured)
    if not best:
        raise ModelError(f"no engine's vectors are near enough to torch's in fp32 ({figures}).")
    return Calibration(chosen=chosen, why=f"{chosen.engine} {chosen.precision} embeds: {figures}.", measured=measured)


def _ways(*, is_late: bool) -> Iterator[tuple[str, str]]:
    torch = "late" if is_late else "torch"
    yield torch, "fp32"
    has_gpu = computes_on_gpu()
    if has_gpu:
        yield torch, "fp16"
    if has_gpu or multiplies_bf16():
        yield torch, "bf16"
    if not is_late and not has_gpu and importlib.util.find_spec("openvino") is not None:
        yield "openvino", "fp32"
        if multiplies_bf16():
            yield "openvino", "bf16"
        yield "openvino", "int8"


def _calibrated(candidates: list[EmbeddingSpec], folder: Path, paths: PathSettings) -> EmbeddingSpec:
    """Calibrate, or read what was found before by the same machine for the same candidates."""
    key = content_hash(
        str(_VERSION), *sorted(cpu_flags()), str(os.cpu_count()), *(spec.model_dump_json() for spec in candidates)
    )[:16]
    kept = paths.home.absolute() / "calibrations" / f"{key}.json"
    if not kept.exists():
        found = calibrate(candidates, folder, paths.models)
        logger.info("%s", found.why)
        _keep_first(kept, found.model_dump_json(indent=2))
    return Calibration.model_validate_json(kept.read_bytes()).chosen


def _keep_first(target: Path, text: str) -> None:
    """Write a file at once, unless another process did before: then all use its choice."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=target.parent, encoding="utf-8") as staging:
        staging.write(text)
        staging.flush()
        try:
            os.link(staging.name, target)
        except FileExistsError:
            return


def _embedder(spec: EmbeddingSpec, folder: Path, models: Path) -> SentenceTransformerEmbedder:
    return SentenceTransformerEmbedder(spec, folder, engine_of(spec, folder, models))


def _best_rates(embedders: dict[int, SentenceTransformerEmbedder]) -> dict[int, float]:
    """Give the texts/s of each; they take turns and the best counts, for other programs come and go."""
    best_s = dict.fromkeys(embedders, float("inf"))
    for _ in range(_ROUNDS):
        for number, embedder in embedders.items():
            began = time.perf_counter()
            embedder.embed_documents(PARITY_TEXTS)
            best_s[number] = min(best_s[number], time.perf_counter() - began)
    return {number: len(PARITY_TEXTS) / seconds for number, seconds in best_s.items()}


def _sentence(found: Measured) -> str:
    way = f"{found.engine} {found.precision}"
    if found.problem:
        return f"{way} fails ({found.problem})"
    verdict = "" if found.has_parity else ", too far"
    return f"{way} {found.texts_per_s:.0f} texts/s, cosine {found.cos_mean:.4f} (least {found.cos_min:.4f}){verdict}"
