import time

import pytest

from forebay.documents import RejectionReason as Reason
from spark_jobs.parse_documents.readers.contract import UnparsableError
from spark_jobs.parse_documents.readers.json_file import read_json
from spark_jobs.parse_documents.readers.xml_file import read_xml


def test_mixed_content_is_one_block():
    found = read_xml(b"<a><p>Some <b>bold</b>\n text</p><q><r>one</r><r>two</r></q></a>")
    assert found.text == "Some bold text\n\none\n\ntwo"


def test_comments_instructions_and_cdata():
    assert read_xml(b"<a>x<!-- no --><?php no ?><![CDATA[ & y]]></a>").text == "x & y"


def test_the_encoding_is_the_declared_one():
    data = '<?xml version="1.0" encoding="iso-8859-1"?><a>Größe</a>'.encode("latin-1")
    assert read_xml(data).text == "Größe"


def test_a_long_entity_used_often_expands_too_far():
    # Below the factor of growth at which libxml2 itself gives up.
    data = b'<!DOCTYPE a [<!ENTITY x "' + b"y" * 2**20 + b'">]><a>' + b"&x;" * 60 + b" " * 2**20 + b"</a>"
    with pytest.raises(UnparsableError) as caught:
        read_xml(data)
    assert caught.value.reason == Reason.EXPANDS_TOO_FAR


@pytest.mark.parametrize("subset", ['SYSTEM "{}"', '[<!ENTITY % p SYSTEM "{}"> %p;]', '[<!ENTITY x SYSTEM "{}">]'])
def test_nothing_outside_the_document_is_fetched(tmp_path, subset):
    (tmp_path / "outside").write_text('<!ENTITY x "the secret">')
    uri = (tmp_path / "outside").as_uri()
    assert read_xml(f"<!DOCTYPE a {subset.format(uri)}><a>text &x;</a>".encode()).text == "text"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b'{"a": {"b": [1, null, "x"]}, "c": false}', "a.b[1]: 1\na.b[3]: x\nc: false"),
        (b'["only"]', "[1]: only"),
        (b'"a string"', "a string"),
        (b'{"text": 5, "title": "T"}', "text: 5\ntitle: T"),
    ],
)
def test_json_becomes_lines(data, text):
    assert read_json(data).text == text


def test_metadata_keeps_what_can_be_filtered():
    found = read_json(b'{"text": "x", "metadata": {"year": 1960, "tags": ["a"], "huge": 1e999, "ok": true}}')
    assert found.metadata == {"year": 1960, "ok": True}


def test_a_long_path_before_many_values_expands_too_far():
    data = b'{"' + b"k" * 1000 + b'": [' + b"1," * 100_000 + b"1]}"
    start = time.monotonic()
    with pytest.raises(UnparsableError) as caught:
        read_json(data)
    assert caught.value.reason == Reason.EXPANDS_TOO_FAR
    assert time.monotonic() - start < 10
