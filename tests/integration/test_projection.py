"""The asset that fits the projection, on real tables of vectors that stand for a corpus of any size."""

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest

from forebay.documents import content_hash
from forebay.embedding.choice import resolve_spec
from forebay.errors import IndexBuildError
from forebay.settings import EmbeddingSettings, PathSettings
from forebay.store.reduction import Reduction, fitted_file
from forebay.tables import embedding_table
from orchestration.defs.projection import projection

pytestmark = pytest.mark.integration

_DIMENSIONS = 12


@pytest.fixture
def paths(tmp_path, monkeypatch):
    monkeypatch.setenv("FOREBAY_DATA", str(tmp_path))
    # One engine, so that no machine calibrates.
    monkeypatch.setenv("FOREBAY_EMBEDDING_ENGINE", "torch")
    monkeypatch.setenv("FOREBAY_EMBEDDING_PRECISION", "fp32")
    monkeypatch.setenv("FOREBAY_INDEX_REDUCTION", "pca")
    monkeypatch.setenv("FOREBAY_INDEX_DIMENSIONS", str(_DIMENSIONS))
    return PathSettings()


def _spec(paths):
    return resolve_spec(EmbeddingSettings(), paths)


def _rows(spec, numbers):
    """Rows of the embeddings table: unit vectors near a plane of 16 dimensions, equal for equal numbers."""
    plane = np.random.default_rng(0).standard_normal((16, spec.dim))
    vectors = []
    for number in numbers:
        random = np.random.default_rng(number + 1)
        vector = random.standard_normal(16) @ plane + 0.3 * random.standard_normal(spec.dim)
        vectors.append((vector / np.linalg.norm(vector)).astype(np.float32))
    hashes = [content_hash(str(number)) for number in numbers]
    dense = pa.FixedSizeListArray.from_arrays(pa.array(np.concatenate(vectors)), spec.dim)
    return pa.table([hashes, dense, ["run"] * len(hashes)], ["text_hash", "vector", "run_id"])


def _publish(paths, numbers):
    spec = _spec(paths)
    table = embedding_table(paths.tables, spec)
    table.prepare()
    table.replace(_rows(spec, numbers).cast(table.schema))
    table.publish()


def _materialize(**config):
    result = dg.materialize([projection], run_config={"ops": {"projection": {"config": config}}})
    (made,) = result.asset_materializations_for_node("projection")
    return {name: value.value for name, value in made.metadata.items()}


def test_nothing_is_fitted_where_vectors_stay_whole(paths, monkeypatch):
    monkeypatch.setenv("FOREBAY_INDEX_REDUCTION", "none")
    monkeypatch.delenv("FOREBAY_INDEX_DIMENSIONS")
    assert _materialize() == {"reduction": "none"}
    assert not (paths.data / "projections").exists()


def test_a_projection_is_kept_until_the_corpus_is_four_times_as_large(paths):
    _publish(paths, range(100))
    first = _materialize()
    assert (first["is_new"], first["fitted_at_vectors"], first["kept_until_vectors"]) == (True, 100, 400)
    _publish(paths, range(400))
    kept = _materialize()
    assert (kept["is_new"], kept["vectors"], kept["fitted_at_vectors"]) == (False, 400, 100)
    assert kept["fingerprint"] == first["fingerprint"]
    _publish(paths, range(401))
    grown = _materialize()
    assert (grown["is_new"], grown["fitted_at_vectors"], grown["kept_until_vectors"]) == (True, 401, 1604)
    assert grown["fingerprint"] != first["fingerprint"]


def test_fitting_again_is_a_deliberate_act(paths):
    _publish(paths, range(100))
    first = _materialize()
    _publish(paths, range(50, 150))
    assert _materialize()["fingerprint"] == first["fingerprint"]
    again = _materialize(refit=True)
    assert again["is_new"]
    assert again["fingerprint"] != first["fingerprint"]
    assert _materialize()["fingerprint"] == again["fingerprint"]


def test_the_order_of_the_table_makes_no_difference(paths):
    _publish(paths, range(300))
    first = _materialize()
    _publish(paths, range(299, -1, -1))
    assert _materialize(refit=True)["fingerprint"] == first["fingerprint"]


def test_recall_is_measured_with_vectors_that_nothing_was_fitted_to(paths):
    _publish(paths, range(100))
    made = _materialize()
    assert (made["recall_questions"], made["recall_vectors"]) == (10, 90)
    table = _rows(_spec(paths), range(100)).sort_by("text_hash")
    vectors = np.array(table["vector"].to_pylist(), np.float32)
    independent = np.linalg.svd(vectors[10:].astype(np.float64), full_matrices=False)
    axes = independent[2][:_DIMENSIONS].T
    kept = Reduction.load(fitted_file(paths, _spec(paths), _DIMENSIONS)).axes
    # Up to the signs of the axes, which no cosine depends on.
    assert np.abs(kept.T @ axes) == pytest.approx(np.eye(_DIMENSIONS), abs=1e-4)
    explained = (independent[1][:_DIMENSIONS] ** 2).sum() / (independent[1] ** 2).sum()
    assert made["explained_variance"] == pytest.approx(explained, abs=1e-4)
    smaller = vectors @ axes
    smaller /= np.linalg.norm(smaller, axis=1, keepdims=True)
    pairs = zip(_ten_nearest(vectors), _ten_nearest(smaller), strict=True)
    assert made["recall_at_10"] == pytest.approx(np.mean([len(true & found) / 10 for true, found in pairs]))


def _ten_nearest(vectors):
    return [set(np.argsort(-(vectors[10:] @ question))[:10].tolist()) for question in vectors[:10]]


def test_a_large_corpus_is_sampled(paths, monkeypatch):
    monkeypatch.setattr("orchestration.defs.projection._FITTED_ROWS", 400)
    monkeypatch.setattr("orchestration.defs.projection._MEASURED_ROWS", 200)
    _publish(paths, range(2000))
    first = _materialize()
    # Hashes are spread as chance has it: 200 of 2,000 give or take four standard deviations.
    assert 146 < first["recall_questions"] + first["recall_vectors"] < 254
    assert first["fitted_at_vectors"] == 2000
    assert _materialize(refit=True)["fingerprint"] == first["fingerprint"]


def test_truncation_is_measured_but_never_fitted(paths, monkeypatch):
    monkeypatch.setenv("FOREBAY_INDEX_REDUCTION", "truncate")
    _publish(paths, range(100))
    made = _materialize()
    assert 0 < made["recall_at_10"] < 1
    assert "explained_variance" not in made
    assert not (paths.data / "projections").exists()


def test_a_corpus_of_one_text_has_no_recall(paths, monkeypatch):
    monkeypatch.setenv("FOREBAY_INDEX_REDUCTION", "truncate")
    _publish(paths, [1])
    assert "recall_at_10" not in _materialize()


def test_a_damaged_projection_is_replaced_by_fitting_again(paths):
    _publish(paths, range(100))
    first = _materialize()
    kept = fitted_file(paths, _spec(paths), _DIMENSIONS)
    kept.write_bytes(kept.read_bytes()[:300])
    with pytest.raises(IndexBuildError, match="Materialize the asset `projection` with `refit: true`"):
        _materialize()
    assert _materialize(refit=True)["fingerprint"] == first["fingerprint"]
