import pytest

from forebay.documents import RejectionReason as Reason
from spark_jobs.parse_documents.readers.contract import UnparsableError
from spark_jobs.parse_documents.readers.pdf import MAX_PAGES, read_pdf
from tests.data.pdf_files import write_pdf


def _page(text):
    return f"BT /F1 11 Tf 14 TL 72 720 Td ({text}) Tj T* (second line) Tj ET".encode()


def test_pages_are_divided_by_form_feeds():
    found = read_pdf(write_pdf([_page("one"), b"", _page("three")], title="A title"))
    assert found.text == "one\nsecond line\f\fthree\nsecond line"
    assert (found.format, found.title, found.metadata) == ("pages", "A title", {})


def test_a_word_broken_at_a_line_end_is_mended():
    page = b"BT /F1 11 Tf 14 TL 72 720 Td (the boundary lay-) Tj T* (er grows) Tj ET"
    assert read_pdf(write_pdf([page])).text == "the boundary layer grows"


def test_the_most_pages_are_read_and_one_more_is_not():
    most = write_pdf([_page("x")], copies=MAX_PAGES)
    assert read_pdf(most).text.count("\f") == MAX_PAGES - 1
    with pytest.raises(UnparsableError) as caught:
        read_pdf(write_pdf([_page("x")], copies=MAX_PAGES + 1))
    assert caught.value.reason == Reason.TOO_MANY_PAGES


def test_a_page_that_is_not_there_is_no_blank_page():
    data = write_pdf([_page("one"), _page("two")]).replace(b"6 0 obj\n<< /Type /Page ", b"6 0 obj\n<< /Type /Nope ")
    with pytest.raises(UnparsableError) as caught:
        read_pdf(data)
    assert (caught.value.reason, caught.value.detail) == (Reason.PARSER_ERROR, "page 2 of 2 is damaged")


def test_scanned_pages_are_told_what_they_need():
    with pytest.raises(UnparsableError, match="OCR"):
        read_pdf(write_pdf([b"0 0 100 100 re f"]))
