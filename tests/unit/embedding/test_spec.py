import pytest

from forebay.errors import SpecMismatchError
from forebay.testing import HashEmbedder


def test_a_spec_requires_its_equal():
    spec = HashEmbedder(64).spec
    spec.require(HashEmbedder(64).spec)
    with pytest.raises(SpecMismatchError, match=r"dim: 64 and 32"):
        spec.require(HashEmbedder(32).spec)


def test_the_fingerprint_covers_every_field():
    spec = HashEmbedder().spec
    changed = {"model": "x", "revision": "x", "dim": 1, "max_tokens": 1, "precision": "bf16", "engine": "x"}
    assert set(changed) == set(type(spec).model_fields)
    for name, value in changed.items():
        assert spec.model_copy(update={name: value}).fingerprint != spec.fingerprint
