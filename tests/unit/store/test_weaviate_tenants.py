import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from forebay.settings import IndexSettings
from forebay.store.access import EVERYTHING, PUBLIC, Caller
from forebay.store.weaviate_tenants import SHARED, asked_tenants, tenant_name, tenant_of

_LEGAL = re.compile(r"[A-Za-z0-9_-]{1,64}")


@given(st.text(), st.text())
def test_any_tenant_has_a_legal_name_of_its_own(one, other):
    names = {tenant_name(one), tenant_name(other)}
    assert all(_LEGAL.fullmatch(name) for name in names)
    assert SHARED not in names
    assert len(names) == len({one, other})


@pytest.mark.parametrize("tenant", ["", "acme", "ACME", "a/b", "a b", "a_b", "Ü" * 200, "x" * 200, "x" * 201, SHARED])
def test_names_can_be_recognized_and_never_collide(tenant):
    others = {"", "acme", "ACME", "a/b", "a b", "a_b", "Ü" * 200, "x" * 200, "x" * 201, SHARED} - {tenant}
    assert tenant_name(tenant) not in {tenant_name(other) for other in others}
    assert _LEGAL.fullmatch(tenant_name(tenant))
    assert tenant_name("acme corp").startswith("acme_corp-")


def test_a_document_lies_in_its_own_tenant_or_in_the_shared_one():
    assert tenant_of({"tenant": "acme", "year": 1}) == tenant_name("acme")
    assert tenant_of({"year": 1, "groups": ["hr"]}) == tenant_of({"tenant": None}) == SHARED


def test_a_caller_asks_the_shared_tenant_and_its_own_if_they_are_there():
    acme, globex = tenant_name("acme"), tenant_name("globex")
    held = {SHARED, acme, globex}
    assert asked_tenants(PUBLIC, held) == [SHARED]
    assert asked_tenants(Caller("acme"), held) == [SHARED, acme]
    assert asked_tenants(Caller("none"), held) == [SHARED]
    # Nobody becomes another one by giving the name that Weaviate knows it by.
    assert asked_tenants(Caller(acme), held) == asked_tenants(Caller(SHARED), held) == [SHARED]
    assert asked_tenants(Caller("acme"), {acme}) == [acme]
    assert asked_tenants(PUBLIC, {acme}) == []
    assert asked_tenants(EVERYTHING, held) == sorted(held)


def test_tenants_are_part_of_what_a_release_is_and_need_weaviate():
    without = IndexSettings(store="weaviate")
    assert "tenants" not in without.identity
    assert IndexSettings(store="weaviate", tenants=True).identity != without.identity
    with pytest.raises(ValidationError, match="tenants are Weaviate's"):
        IndexSettings(tenants=True)
