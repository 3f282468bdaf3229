import pytest

from forebay.chunks import chunk_id, embedded_text
from forebay.documents import content_hash, partition_keys, partition_number


def test_moving_text_between_parts_changes_the_hash():
    assert content_hash("ab", "c") != content_hash("a", "bc")


def test_lone_surrogates_can_be_hashed():
    assert len(content_hash("\ud800")) == 32


def test_partition_keys_name_their_numbers():
    assert [partition_number(key) for key in partition_keys(12)] == list(range(12))


def test_chunk_ids_differ_where_their_parts_only_look_alike():
    assert chunk_id("c", "doc1", 1) != chunk_id("c", "doc", 11)
    assert chunk_id("c", "d", 0) != chunk_id("other", "d", 0)


@pytest.mark.parametrize(
    ("title", "headings", "text", "expected"),
    [
        ("T", "A > B", "body", "T\nA > B\nbody"),
        ("", "", "body", "body"),
        ("body", "", "body and more", "body and more"),
    ],
)
def test_a_passage_is_embedded_with_its_context(title, headings, text, expected):
    assert embedded_text(title, headings, text) == expected
