"""The words of Weaviate's double (tests/weaviate_wire.py): where a server looks for them, and how often."""

import re

_TOKENS = {"word": lambda text: re.findall(r"\w+", text.lower()), "whitespace": str.split}
"""How a text becomes words, by the tokenization of its property, as Weaviate documents it."""


def count_words(question, properties, definition):
    """Count how often the words of a question stand in the properties that it asks.

    Raises:
        LookupError: one of them has no index of words; with what a server says (entities/inverted/errors.go).
    """
    held = {item["name"]: item for item in definition["properties"]}
    found = 0
    for name in question.properties:
        if name not in held or not held[name]["indexSearchable"]:
            raise LookupError(
                f"Searching by property '{name}' requires inverted index. Is `indexSearchable` option of property "
                f"'{name}' enabled? Set it to `true` or leave empty"
            )
        tokens = _TOKENS[held[name]["tokenization"]]
        text = tokens(properties[name])
        found += sum(text.count(word) for word in tokens(question.query))
    return float(found)
