"""What a Weaviate server makes of a new collection's definition, for the double: defaults that clients read back."""

_VECTOR_INDEX = {
    "cleanupIntervalSeconds": 300,
    "dynamicEfMin": 100,
    "dynamicEfMax": 500,
    "dynamicEfFactor": 8,
    "ef": -1,
    "flatSearchCutoff": 40_000,
    "skip": False,
    "vectorCacheMaxObjects": 10**12,
}
_PROPERTY = {"indexFilterable": True, "indexSearchable": False, "indexRangeFilters": False}
_STOPWORDS = {"preset": "en", "additions": None, "removals": None}
_SHARDING = {
    "virtualPerPhysical": 128,
    "actualCount": 1,
    "desiredVirtualCount": 128,
    "actualVirtualCount": 128,
    "key": "_id",
    "strategy": "hash",
    "function": "murmur3",
}


def has_tenants(definition):
    """Say whether a collection has tenants."""
    return bool(definition.get("multiTenancyConfig", {}).get("enabled"))


def completed(definition):
    """Complete a definition in place.

    Raises:
        ValueError: a server refuses it; with what it says.
    """
    if has_tenants(definition) and "shardingConfig" in definition:
        raise ValueError("cannot have both shardingConfig and multiTenancyConfig")
    definition["properties"] = [_PROPERTY | item for item in definition["properties"]]
    vector = definition["vectorConfig"]["default"]
    vector["vectorIndexConfig"] = _VECTOR_INDEX | vector["vectorIndexConfig"]
    definition["shardingConfig"] = _SHARDING | definition.get("shardingConfig", {"desiredCount": 0})
    inverted = definition["invertedIndexConfig"]
    stopwords = _STOPWORDS | (inverted.get("stopwords") or {})
    definition["invertedIndexConfig"] = {"cleanupIntervalSeconds": 60} | inverted | {"stopwords": stopwords}
    return definition
