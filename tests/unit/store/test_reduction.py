import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from forebay.errors import ConfigurationError, IndexBuildError
from forebay.settings import IndexSettings, PathSettings
from forebay.store.reduction import Reduction, configured_reduction, fitted_file, kept_projection
from forebay.testing import HashEmbedder
from quality.vectors import nearest, recall_at_k

_DIM = 24


def _units(n, *, seed=1, used=_DIM):
    """Unit vectors that lie in `used` dimensions, turned so that no axis shows it."""
    random = np.random.default_rng(seed)
    turned, _ = np.linalg.qr(np.random.default_rng(99).standard_normal((_DIM, _DIM)))
    vectors = random.standard_normal((n, used)) @ turned[:used]
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_what_lies_in_few_dimensions_keeps_its_cosines():
    vectors = _units(200, used=9)
    reduction = Reduction.fit(vectors, 9, 200)
    reduced = reduction(vectors)
    assert reduced.shape == (200, 9)
    assert reduced @ reduced.T == pytest.approx(vectors @ vectors.T, abs=1e-5)
    assert reduction.explained == pytest.approx(1.0, abs=1e-5)


@given(st.integers(8, 23), st.integers(0, 50))
def test_reduced_vectors_are_unit_vectors_along_orthonormal_axes(dimensions, seed):
    vectors = _units(64, seed=seed)
    reduction = Reduction.fit(vectors, dimensions, 64)
    assert reduction.axes.T @ reduction.axes == pytest.approx(np.eye(dimensions), abs=1e-5)
    assert np.linalg.norm(reduction(vectors), axis=1) == pytest.approx(np.ones(64), abs=1e-5)
    assert 0 < reduction.explained < 1


def test_pca_finds_more_than_cutting_off():
    vectors = _units(600, used=12)
    questions, others = vectors[:50], vectors[50:]
    fitted, cut = Reduction.fit(others, 10, 550), Reduction.truncation(_DIM, 10)
    recalls = [recall_at_k((questions, others), (way(questions), way(others))) for way in (fitted, cut)]
    assert recalls[0] > recalls[1] + 0.1


def test_the_same_vectors_give_the_same_projection_in_any_order():
    vectors = _units(100)
    first, second = Reduction.fit(vectors, 8, 100), Reduction.fit(vectors[::-1].copy(), 8, 100)
    assert first.axes == pytest.approx(second.axes, abs=1e-5)
    assert Reduction.fit(vectors, 8, 100).fingerprint == first.fingerprint
    assert Reduction.fit(_units(100, seed=2), 8, 100).fingerprint != first.fingerprint


def test_truncation_keeps_the_first_numbers():
    vectors = _units(5)
    expected = vectors[:, :10] / np.linalg.norm(vectors[:, :10], axis=1, keepdims=True)
    assert Reduction.truncation(_DIM, 10)(vectors) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("dimensions", [_DIM, _DIM + 1])
def test_as_many_dimensions_as_before_are_refused(dimensions):
    with pytest.raises(ConfigurationError, match="set it to fewer"):
        Reduction.truncation(_DIM, dimensions)
    with pytest.raises(ConfigurationError, match="set it to fewer"):
        Reduction.fit(_units(100), dimensions, 100)


def test_too_few_vectors_are_refused():
    with pytest.raises(ConfigurationError, match="7 vectors are too few to fit 8"):
        Reduction.fit(_units(7), 8, 7)


def test_a_vector_of_which_nothing_is_left_is_an_error():
    with pytest.raises(IndexBuildError, match="no length"):
        Reduction.truncation(_DIM, 8)(np.eye(_DIM, dtype=np.float32)[-1:])


def test_a_file_gives_back_what_was_saved(tmp_path):
    reduction = Reduction.fit(_units(100), 8, 100)
    reduction.save(tmp_path / "new" / "pca.npz")
    found = Reduction.load(tmp_path / "new" / "pca.npz")
    assert (found.fingerprint, found.explained, found.rows) == (reduction.fingerprint, reduction.explained, 100)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["pca.npz"]


def _a_bit_flipped(data):
    return bytes([*data[:400], data[400] ^ 1, *data[401:]])


def _with_axes(axes):
    return lambda path: np.savez(path, axes=axes, explained=1.0, rows=1)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda path: path.unlink(), id="gone"),
        pytest.param(lambda path: path.write_bytes(b""), id="empty"),
        pytest.param(lambda path: path.write_bytes(b"not a projection"), id="text"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:200]), id="cut"),
        pytest.param(lambda path: path.write_bytes(_a_bit_flipped(path.read_bytes())), id="bit"),
        pytest.param(_with_axes(np.array([{}], dtype=object)), id="pickle"),
        pytest.param(_with_axes(np.eye(_DIM, 8)), id="fp64"),
        pytest.param(_with_axes(np.full((_DIM, 8), np.nan, np.float32)), id="nan"),
    ],
)
def test_a_damaged_file_is_a_named_error(tmp_path, damage):
    path = tmp_path / "pca.npz"
    Reduction.fit(_units(100), 8, 100).save(path)
    damage(path)
    with pytest.raises(IndexBuildError, match=r"pca\.npz is not a readable projection"):
        Reduction.load(path)


def test_vectors_of_another_model_are_a_named_error():
    with pytest.raises(IndexBuildError, match="vectors have 10 dimensions, the projection reduces 24"):
        Reduction.truncation(_DIM, 8)(np.ones((2, 10), np.float32))


def test_settings_say_which_reduction(tmp_path):
    paths, spec = PathSettings(data=tmp_path), HashEmbedder().spec
    assert configured_reduction(paths, spec, IndexSettings()) is None
    cut = configured_reduction(paths, spec, IndexSettings(reduction="truncate", dimensions=16))
    assert cut.axes.shape == (64, 16)
    wanted = IndexSettings(reduction="pca", dimensions=8)
    with pytest.raises(IndexBuildError, match="not been fitted yet; materialize the asset `projection`"):
        configured_reduction(paths, spec, wanted)
    fitted = Reduction.fit(_spread(spec.dim), 8, 100)
    fitted.save(fitted_file(paths, spec, 8))
    assert configured_reduction(paths, spec, wanted).fingerprint == fitted.fingerprint


@pytest.mark.parametrize("found", [b"", (64, 9), (_DIM, 8)], ids=str)
def test_a_kept_projection_that_is_of_no_use_says_how_to_replace_it(tmp_path, found):
    paths, spec = PathSettings(data=tmp_path), HashEmbedder().spec
    path = fitted_file(paths, spec, 8)
    if isinstance(found, bytes):
        path.parent.mkdir()
        path.write_bytes(found)
    else:
        Reduction.fit(_spread(found[0]), found[1], 100).save(path)
    with pytest.raises(IndexBuildError, match="Materialize the asset `projection` with `refit: true`"):
        kept_projection(paths, spec, 8)


def _spread(dim):
    vectors = np.random.default_rng(4).standard_normal((100, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("settings", [{"reduction": "pca"}, {"dimensions": 64}])
def test_reduction_and_dimensions_belong_together(settings):
    with pytest.raises(ValidationError, match="belong together"):
        IndexSettings(**settings)


def test_settings_that_do_nothing_change_no_identity():
    assert "reduction" not in IndexSettings().identity
    assert IndexSettings(reduction="pca", dimensions=64).identity != IndexSettings().identity
    assert IndexSettings(quantization="binary").identity != IndexSettings().identity


def test_recall_counts_the_true_neighbours_that_are_found():
    others = np.eye(20, dtype=np.float32)
    questions = others[:4]
    assert set(nearest(questions, others, 1)[:, 0].tolist()) == {0, 1, 2, 3}
    assert recall_at_k((questions, others), (questions, others), 1) == 1.0
    assert recall_at_k((questions, others), (questions, others[::-1].copy()), 1) == 0.0
