import shutil

import pytest
from safetensors.torch import load_file, save_file

from forebay import machine
from forebay.canary.settling import introduce, reject_by_hand
from forebay.canary.trials import CanaryRegistry
from forebay.candidates import Candidate
from forebay.embedding.choice import Calibration, Measured, calibrate, candidate_specs, corpus_specs, resolve_spec
from forebay.embedding.openvino_engine import exported_model, quantized_model
from forebay.embedding.sentence_transformer import load_embedder
from forebay.errors import ModelError
from forebay.models import model_folder
from forebay.releases import Evaluation, ReleaseManifest, ReleaseRegistry, now
from forebay.settings import EmbeddingSettings, IndexSettings, PathSettings, ReleaseSettings
from tests.altered_model import write_shallow_model

_FOLDER = model_folder(EmbeddingSettings().model, PathSettings().models)
_FP32 = EmbeddingSettings(precision="fp32")


@pytest.fixture
def paths(tmp_path):
    return PathSettings(home=tmp_path / "home", data=tmp_path / "data")


def _keep(paths, spec):
    Candidate(embedding=spec, index=IndexSettings(), layout="1", shards={}, table_versions={}).save(paths.shards)


def _kept(paths):
    return list((paths.home / "calibrations").glob("*"))


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    """A home where this machine was calibrated once."""
    paths = PathSettings(home=tmp_path_factory.mktemp("home"), data=tmp_path_factory.mktemp("data"))
    return paths, resolve_spec(_FP32, paths)


def test_a_machine_calibrates_once_and_keeps_what_it_found(calibrated, tmp_path):
    made, first = calibrated
    shutil.copytree(made.home / "calibrations", tmp_path / "home" / "calibrations")
    paths = PathSettings(home=tmp_path / "home", data=tmp_path / "data")
    (kept,) = _kept(paths)
    found = Calibration.model_validate_json(kept.read_bytes())
    assert found.chosen == first
    assert "torch fp32" in found.why
    assert "openvino fp32" in found.why
    # The other one, so that a second measurement would be seen.
    (other,) = (spec for spec in candidate_specs(_FP32, _FOLDER) if spec != first)
    kept.write_text(found.model_copy(update={"chosen": other}).model_dump_json())
    assert resolve_spec(_FP32, paths) == other


@pytest.mark.parametrize("number", range(len(candidate_specs(EmbeddingSettings(), _FOLDER))))
def test_a_corpus_keeps_the_engine_that_it_was_embedded_with(paths, number):
    spec = candidate_specs(EmbeddingSettings(), _FOLDER)[number]
    _keep(paths, spec)
    assert resolve_spec(EmbeddingSettings(), paths) == spec
    assert not _kept(paths)


def test_a_corpus_keeps_what_auto_would_not_choose_here(paths):
    """As after a re-embedding whose engine was named, or one on a GPU."""
    spec = candidate_specs(_FP32, _FOLDER)[0].model_copy(update={"precision": "fp16"})
    assert spec not in candidate_specs(EmbeddingSettings(), _FOLDER)
    _keep(paths, spec)
    assert resolve_spec(EmbeddingSettings(), paths) == spec
    assert not _kept(paths)
    assert resolve_spec(EmbeddingSettings(engine="torch", precision="fp32"), paths).precision == "fp32"


def test_another_models_corpus_decides_nothing(calibrated, tmp_path):
    paths = PathSettings(home=calibrated[0].home, data=tmp_path / "data")
    (other,) = (spec for spec in candidate_specs(_FP32, _FOLDER) if spec != calibrated[1])
    _keep(paths, other.model_copy(update={"revision": "other"}))
    assert resolve_spec(_FP32, paths) == calibrated[1]


def _release(paths, spec):
    manifest = ReleaseManifest(
        corpus="test",
        embedding=spec,
        index=IndexSettings(),
        shards=(),
        documents=0,
        table_versions={},
        evaluation=Evaluation(questions=0),
        created_at=now(),
    )
    registry = ReleaseRegistry(paths.releases)
    registry.save(manifest)
    registry.promote(manifest.release_id, shards=paths.shards)


def test_where_no_model_is_named_a_corpus_keeps_that_of_its_release(paths, tmp_path):
    other = write_shallow_model(tmp_path / "shallow")
    named = EmbeddingSettings(model=str(other), precision="fp32", engine="torch")
    (spec,) = candidate_specs(named, other)
    _release(paths, spec)
    # An unfinished change to yet another model decides nothing.
    _keep(paths, candidate_specs(_FP32, _FOLDER)[0])
    assert resolve_spec(EmbeddingSettings(), paths) == spec
    default = EmbeddingSettings(model=EmbeddingSettings().model, precision="fp32")
    assert resolve_spec(default, paths) == candidate_specs(_FP32, _FOLDER)[0]


def test_a_release_on_trial_decides_before_the_current_one(paths, tmp_path):
    """Else a night's run would go back to the old model while the new one is the canary, or waits to be."""
    other = write_shallow_model(tmp_path / "shallow")
    (spec,) = candidate_specs(EmbeddingSettings(model=str(other), precision="fp32", engine="torch"), other)
    registry, canaries = ReleaseRegistry(paths.releases), CanaryRegistry(paths.releases)
    old = candidate_specs(_FP32, _FOLDER)[0]
    _release(paths, old)
    _release(paths, spec)
    registry.rollback(shards=paths.shards)
    settings, new_id = ReleaseSettings(canary_share=0.1), registry.previous_id()
    introduce(new_id, paths, settings)
    assert corpus_specs(paths) == [spec, old]
    canary = canaries.current()
    canaries.write(canary.model_copy(update={"release_id": registry.current_id(), "waiting": new_id}))
    assert corpus_specs(paths) == [spec, old, old]
    reject_by_hand(paths)
    assert corpus_specs(paths) == [old]


def test_a_damaged_manifest_does_not_keep_the_pipeline_from_running(paths):
    spec = candidate_specs(_FP32, _FOLDER)[0]
    _release(paths, spec)
    for path in paths.releases.glob("*.json"):
        path.write_text("{")
    _keep(paths, spec)
    assert resolve_spec(_FP32, paths) == spec


def test_what_is_named_goes_before_what_a_corpus_has(paths):
    _keep(paths, candidate_specs(_FP32, _FOLDER)[0])
    named = resolve_spec(EmbeddingSettings(engine="openvino", precision="int8"), paths)
    assert (named.engine, named.precision) == ("openvino", "int8")
    assert not _kept(paths)


@pytest.mark.parametrize(
    ("torch_version", "is_used"), [("2.13.0+cpu", False), ("2.13.0", True), ("2.11.0+cu130", True)]
)
def test_a_gpu_counts_where_torch_can_use_it(monkeypatch, torch_version, is_used):
    monkeypatch.setattr(machine, "has_nvidia_gpu", lambda: True)
    monkeypatch.setattr(machine, "version", lambda _: torch_version)
    engines = {(spec.engine, spec.precision) for spec in candidate_specs(EmbeddingSettings(), _FOLDER)}
    assert (("torch", "fp16") in engines) == is_used
    assert (("openvino", "int8") in engines) != is_used


def test_an_engine_without_parity_is_not_chosen(tmp_path):
    torch, openvino = candidate_specs(_FP32, _FOLDER)
    changed = tmp_path / "changed"
    shutil.copytree(_FOLDER, changed)
    weights = load_file(changed / "model.safetensors")
    weights["encoder.layer.0.output.dense.weight"] *= 0.5
    save_file(weights, changed / "model.safetensors", {"format": "pt"})
    # Another model's graph where this one's is looked for.
    exported_model(changed, openvino.revision, tmp_path / "exports")
    found = calibrate([torch, openvino], _FOLDER, tmp_path)
    assert found.chosen == torch
    assert "too far" in found.why
    with pytest.raises(ModelError, match="no engine's vectors are near enough"):
        calibrate([openvino], _FOLDER, tmp_path)


@pytest.mark.parametrize(
    ("figures", "has_parity"),
    [
        ({"cos_mean": 0.9991, "cos_min": 0.9951}, True),
        ({"cos_mean": 0.9989, "cos_min": 0.9951}, False),
        ({"cos_mean": 0.9991, "cos_min": 0.9949}, False),
        ({"cos_mean": float("nan"), "cos_min": float("nan")}, False),
        ({"cos_mean": 1.0, "cos_min": 1.0, "problem": "does not start"}, False),
    ],
)
def test_parity_has_two_limits(figures, has_parity):
    assert Measured(engine="x", precision="fp32", **figures).has_parity is has_parity


def test_an_engine_that_lacks_the_precision_is_an_error(tmp_path):
    torch, _ = candidate_specs(_FP32, _FOLDER)
    with pytest.raises(ModelError, match=r"'torch' doesn't compute in 'int8'"):
        load_embedder(torch.model_copy(update={"precision": "int8"}), tmp_path)


@pytest.mark.parametrize(("engine", "precision"), [("torch", "fp32"), ("openvino", "fp32"), ("auto", "auto")])
@pytest.mark.parametrize("weights", [None, b"x" * 100])
def test_a_model_whose_weights_are_missing_or_damaged_is_one_sentence(paths, tmp_path, weights, engine, precision):
    folder = tmp_path / "damaged"
    shutil.copytree(_FOLDER, folder)
    (folder / "model.safetensors").unlink()
    if weights is not None:
        (folder / "model.safetensors").write_bytes(weights)
    settings = EmbeddingSettings(model=str(folder), engine=engine, precision=precision)
    with pytest.raises(ModelError, match=r"the model in .* can't be loaded"):
        load_embedder(resolve_spec(settings, paths), paths.models)


def test_an_export_is_made_once_and_leaves_nothing_beside_it(tmp_path):
    graph = exported_model(_FOLDER, "revision", tmp_path)
    quantized = quantized_model(graph)
    made = [path.stat().st_mtime_ns for path in (graph, quantized)]
    assert exported_model(_FOLDER, "revision", tmp_path) == graph
    assert quantized_model(graph) == quantized
    assert [path.stat().st_mtime_ns for path in (graph, quantized)] == made
    assert {path.name for path in tmp_path.iterdir()} == {"openvino-revision", "openvino-revision-int8"}
    sizes = [path.with_suffix(".bin").stat().st_size for path in (graph, quantized)]
    assert sizes[1] < 0.75 * sizes[0]


@pytest.mark.parametrize(("engine", "precision"), [("torch", "int8"), ("openvino", "fp16"), ("late", "int8")])
def test_what_an_engine_does_not_compute_in_is_refused_before_anything_is_cut(paths, engine, precision):
    with pytest.raises(ModelError, match=f"{engine!r} doesn't compute in {precision!r}; there are: torch with fp32"):
        resolve_spec(EmbeddingSettings(engine=engine, precision=precision), paths)
