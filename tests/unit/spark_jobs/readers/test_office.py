import io
import zipfile

import docx
import openpyxl
import pptx
import pytest
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls

from forebay.documents import RejectionReason as Reason
from spark_jobs.parse_documents.readers.contract import UnparsableError
from spark_jobs.parse_documents.readers.docx import read_docx
from spark_jobs.parse_documents.readers.package import open_package
from spark_jobs.parse_documents.readers.pptx import read_pptx
from spark_jobs.parse_documents.readers.xlsx import read_xlsx

_KIND = "a DOCX document"
_FOOTNOTES = "application/vnd.openxmlformats-officedocument.wordprocessingml.footnotes+xml"


def _saved(document):
    stream = io.BytesIO()
    document.save(stream)
    return stream.getvalue()


def _body(*fragments):
    document = docx.Document()
    body = document.element.body
    for fragment in fragments:
        namespaces = nsdecls("w") + ' xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'
        body.insert(len(body) - 1, parse_xml(fragment.replace(">", f" {namespaces}>", 1)))
    return read_docx(_saved(document)).text


def _package(entries):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, blob in entries.items():
            archive.writestr(name, blob)
    return stream.getvalue()


def _refusal(data):
    with pytest.raises(UnparsableError) as caught:
        open_package(data, _KIND)
    return caught.value.reason


def test_blocks_of_a_docx_keep_their_order_and_levels():
    document = docx.Document()
    document.add_heading("The title", 0)
    document.add_heading("Deep", 9)
    document.add_paragraph("before")
    document.add_table(1, 2).cell(0, 0).text = "a | b\nc"
    document.add_paragraph("after")
    found = read_docx(_saved(document))
    assert found.text == "# The title\n\n###### Deep\n\nbefore\n\n| a \\| b c |  |\n| --- | --- |\n\nafter"
    assert (found.format, found.title) == ("markdown", "The title")


@pytest.mark.parametrize(
    ("fragment", "text"),
    [
        ("<w:sdt><w:sdtContent><w:p><w:r><w:t>control</w:t></w:r></w:p></w:sdtContent></w:sdt>", "control"),
        (
            "<w:p><w:ins><w:r><w:t>new</w:t></w:r></w:ins><w:del><w:r><w:delText>old</w:delText></w:r></w:del></w:p>",
            "new",
        ),
        ('<w:p><w:hyperlink w:anchor="x"><w:r><w:t>a link</w:t></w:r></w:hyperlink></w:p>', "a link"),
        ("<w:p><w:pPr><w:tabs><w:tab/></w:tabs></w:pPr><w:r><w:t>a</w:t><w:tab/><w:t>b</w:t></w:r></w:p>", "a\tb"),
        ("<w:p><w:r><w:fldChar/><w:instrText>PAGE</w:instrText><w:t>7</w:t></w:r></w:p>", "7"),
        ("<w:p><w:pPr><w:numPr/></w:pPr><w:r><w:t>item</w:t></w:r></w:p>", "- item"),
        (
            "<w:p><w:r><mc:AlternateContent><mc:Choice><w:t>once</w:t></mc:Choice>"
            "<mc:Fallback><w:t>twice</w:t></mc:Fallback></mc:AlternateContent></w:r></w:p>",
            "once",
        ),
    ],
)
def test_the_text_of_a_docx_is_what_a_reader_sees(fragment, text):
    assert _body(fragment) == text


def test_styles_based_on_headings_are_headings():
    document = docx.Document()
    style = document.styles.add_style("House heading", docx.enum.style.WD_STYLE_TYPE.PARAGRAPH)
    style.base_style = document.styles["Heading 2"]
    document.add_paragraph("Named otherwise", style=style)
    assert read_docx(_saved(document)).text == "## Named otherwise"


def test_footnotes_stand_at_the_end():
    document = docx.Document()
    document.add_paragraph("The body.")
    notes = (
        f"<w:footnotes {nsdecls('w')}><w:footnote><w:p><w:r><w:t>A note.</w:t></w:r></w:p></w:footnote></w:footnotes>"
    )
    part = docx.opc.part.Part(
        docx.opc.packuri.PackURI("/word/footnotes.xml"), _FOOTNOTES, notes.encode(), document.part.package
    )
    document.part.relate_to(part, docx.opc.constants.RELATIONSHIP_TYPE.FOOTNOTES)
    assert read_docx(_saved(document)).text == "The body.\n\nA note."


def test_slides_without_text_still_count():
    presentation = pptx.Presentation()
    for _ in range(2):
        presentation.slides.add_slide(presentation.slide_layouts[6])
    last = presentation.slides.add_slide(presentation.slide_layouts[5])
    last.shapes.title.text = "Third\vline"
    assert read_pptx(_saved(presentation)).text == "\f\fThird line"


def test_cells_are_written_as_a_person_would():
    workbook = openpyxl.Workbook()
    workbook.active.append(["name", "value"])
    for value in (True, 3.0, 2.5, "a\nb", "=1+1", 10**20):
        workbook.active.append(["x", value])
    lines = read_xlsx(_saved(workbook)).text.splitlines()[2:]
    values = ["true", "3", "2.5", "a b", None, "100000000000000000000"]
    assert lines == [f"name: x; value: {value}" if value else "name: x" for value in values]


def test_a_package_with_very_many_entries_is_refused():
    assert _refusal(_package({str(number): b"" for number in range(10_001)})) == Reason.EXPANDS_TOO_FAR


def test_small_files_may_compress_well():
    types = b"application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
    assert open_package(_package({"[Content_Types].xml": types, "zeros": bytes(2**20)}), _KIND).read(2) == b"PK"


def test_a_package_that_understates_its_sizes_is_refused():
    data = bytearray(_package({"[Content_Types].xml": bytes(2**16)}))
    place = data.index(b"PK\x01\x02") + 24
    data[place : place + 4] = (100).to_bytes(4, "little")
    assert _refusal(bytes(data)) == Reason.PARSER_ERROR


def test_an_embedded_document_does_not_make_a_package_one():
    types = b'"application/vnd.openxmlformats-officedocument.wordprocessingml.document"'
    assert _refusal(_package({"[Content_Types].xml": types})) == Reason.WRONG_FORMAT


def test_a_package_with_a_zip_password_is_encrypted():
    data = bytearray(_package({"[Content_Types].xml": b"x" * 20}))
    for beginning, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(beginning) + offset] |= 1
    assert _refusal(bytes(data)) == Reason.ENCRYPTED
