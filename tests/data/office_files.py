"""Word, PowerPoint and Excel files, good and bad."""

import datetime
import io
import re
import zipfile

import docx
import openpyxl
import pandas as pd
import pptx
from pptx.util import Inches

from tests.data.text_files import PNG

__all__ = ["files"]

_WHEN = datetime.datetime(2023, 3, 6, 10, 20, 30)
_ENTITIES = b'<!DOCTYPE a [<!ENTITY a "lol"><!ENTITY b "&a;&a;">]><a>&b;</a>'
_TIMES = re.compile(rb"(<dcterms:(?:created|modified)[^>]*>)[^<]*")
# [MS-CFB] 2.2 and 2.6.1: header of a compound file; one directory entry per stream, its name in UTF-16LE.
_OLE_HEADER = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(16) + bytes.fromhex("3e000300feff0900") + bytes(480)


def files(corpus):
    """Make the files; gives {name: (bytes, what is expected of it)}."""
    return {**_word(corpus), **_powerpoint(corpus), **_excel(corpus)}


def _word(corpus):
    report, workbook = _report(corpus), _workbook(corpus)
    bomb = _with(report, {"word/media/zeros.bin": bytes(40 * 2**20)})
    return {
        "report.docx": (
            report,
            {"accepted": "| 2.2 | rising |", "title": "A report on cones", "metadata": {"author": "R. Cone"}},
        ),
        "untitled.docx": (_saved(_untitled(corpus)), {"accepted": "- first of the list", "title": "The first heading"}),
        "empty.docx": (_saved(docx.Document()), {"rejected": "blank_text"}),
        "nothing.docx": (b"", {"rejected": "blank_text"}),
        "cut.docx": (report[: len(report) // 2], {"rejected": "parser_error"}),
        "damaged.docx": (_damaged(report), {"rejected": "parser_error"}),
        "no-xml.docx": (_with(report, {"word/document.xml": b"<w:document"}), {"rejected": "parser_error"}),
        "entities.docx": (_with(report, {"word/document.xml": _ENTITIES}), {"rejected": "expands_too_far"}),
        "bomb.docx": (bomb, {"rejected": "expands_too_far"}),
        "encrypted.docx": (_compound("EncryptionInfo", "EncryptedPackage"), {"rejected": "encrypted"}),
        "word97.docx": (_compound("WordDocument", "1Table"), {"rejected": "wrong_format"}),
        "workbook.docx": (workbook, {"rejected": "wrong_format"}),
        "archive.docx": (_zip({"readme.txt": b"no document"}), {"rejected": "wrong_format"}),
        "picture.docx": (PNG, {"rejected": "wrong_format"}),
        "prose.docx": (corpus[0]["text"].encode(), {"rejected": "wrong_format"}),
        "report.txt": (report, {"rejected": "binary_content"}),
        "archive.zip": (_zip({"readme.txt": b"no document"}), {"rejected": "unsupported_format"}),
    }


def _powerpoint(corpus):
    slides = _slides(corpus)
    return {
        "slides.pptx": (slides, {"accepted": "Notes: Speak slowly.", "title": "Cones at high speed", "pages": 3}),
        "empty.pptx": (_saved(pptx.Presentation()), {"rejected": "blank_text"}),
        "cut.pptx": (slides[: len(slides) // 2], {"rejected": "parser_error"}),
        "entities.pptx": (_with(slides, {"ppt/slides/slide2.xml": _ENTITIES}), {"rejected": "expands_too_far"}),
        "encrypted.pptx": (_compound("EncryptionInfo", "EncryptedPackage"), {"rejected": "encrypted"}),
        "powerpoint97.pptx": (_compound("Current User", "PowerPoint Document"), {"rejected": "wrong_format"}),
        "report.pptx": (_report(corpus), {"rejected": "wrong_format"}),
        "bomb.pptx": (_with(slides, {"ppt/media/zeros.bin": bytes(40 * 2**20)}), {"rejected": "expands_too_far"}),
    }


def _excel(corpus):
    workbook = _workbook(corpus)
    frame = io.BytesIO()
    pd.DataFrame({"model": ["cone"], "mach": [2.2]}).to_excel(frame, index=False, engine="openpyxl")
    return {
        "workbook.xlsx": (workbook, {"accepted": "model: wedge; mach: 4; tested: 2023-03-06", "title": "Runs"}),
        "pandas.xlsx": (_fixed(frame.getvalue()), {"accepted": "model: cone; mach: 2.2"}),
        "last-row.xlsx": (_far_cells(1), {"accepted": "far away"}),
        "far-cells.xlsx": (_far_cells(3), {"rejected": "expands_too_far"}),
        "empty.xlsx": (_saved(openpyxl.Workbook()), {"rejected": "blank_text"}),
        "cut.xlsx": (workbook[: len(workbook) // 2], {"rejected": "parser_error"}),
        "bomb.xlsx": (_with(workbook, {"xl/zeros.bin": bytes(40 * 2**20)}), {"rejected": "expands_too_far"}),
        "entities.xlsx": (
            _with(workbook, {"xl/worksheets/sheet1.xml": _ENTITIES.decode().encode("utf-16")}),
            {"rejected": "expands_too_far"},
        ),
        "encrypted.xlsx": (_compound("EncryptionInfo", "EncryptedPackage"), {"rejected": "encrypted"}),
        "excel97.xlsx": (_compound("Workbook"), {"rejected": "wrong_format"}),
        "grid.xlsx": (b"model,mach\ncone,2.2\n", {"rejected": "wrong_format"}),
    }


def _report(corpus):
    document = docx.Document()
    document.core_properties.title = "A report on cones"
    document.core_properties.author = "R. Cone"
    document.add_heading("Introduction", 1)
    document.add_paragraph(corpus[11]["text"])
    document.add_heading("Drag", 2)
    table = document.add_table(rows=1, cols=2)
    for cell, text in zip(table.rows[0].cells, ("mach", "drag"), strict=True):
        cell.text = text
    for values in (("1.5", "low"), ("2.2", "rising")):
        for cell, text in zip(table.add_row().cells, values, strict=True):
            cell.text = text
    document.add_paragraph("After the table.")
    return _saved(document)


def _untitled(corpus):
    document = docx.Document()
    document.core_properties.author = ""
    document.add_heading("The first heading", 1)
    document.add_paragraph("first of the list", style="List Bullet")
    document.add_paragraph(corpus[12]["text"])
    return document


def _slides(corpus):
    presentation = pptx.Presentation()
    presentation.core_properties.title = "PowerPoint Presentation"
    first = presentation.slides.add_slide(presentation.slide_layouts[0])
    first.shapes.title.text = "Cones at high speed"
    first.placeholders[1].text = corpus[11]["title"]
    second = presentation.slides.add_slide(presentation.slide_layouts[5])
    second.shapes.title.text = "Results"
    table = second.shapes.add_table(2, 2, Inches(1), Inches(2), Inches(4), Inches(1)).table
    for number, text in enumerate(("mach", "drag", "2.2", "rising")):
        table.cell(number // 2, number % 2).text = text
    second.notes_slide.notes_text_frame.text = "Speak slowly."
    third = presentation.slides.add_slide(presentation.slide_layouts[6])
    box = third.shapes.add_group_shape().shapes.add_textbox(Inches(1), Inches(1), Inches(4), Inches(1))
    box.text_frame.text = "Text within a group"
    return _saved(presentation)


def _workbook(corpus):
    workbook = openpyxl.Workbook()
    workbook.properties.title = "Runs"
    sheet = workbook.active
    sheet.title = "Tunnel"
    sheet.append(["Runs of spring"])
    sheet.append(["model", "mach", "tested"])
    sheet.append(["cone", 2.2, _WHEN])
    sheet.append(["wedge", 4.0, datetime.date(2023, 3, 6)])
    workbook.create_sheet("Abstracts").append([corpus[13]["title"]])
    return _saved(workbook)


def _far_cells(sheets):
    workbook = openpyxl.Workbook()
    workbook.remove(workbook.active)
    for number in range(sheets):
        workbook.create_sheet(f"sheet {number}").cell(1_048_576, 1, "far away")
    return _saved(workbook)


def _saved(document):
    stream = io.BytesIO()
    document.save(stream)
    return _fixed(stream.getvalue())


def _fixed(data):
    """Take the times out, so that the same document is the same bytes."""
    when = _WHEN.strftime("%Y-%m-%dT%H:%M:%SZ").encode()
    return _zip({name: _TIMES.sub(rb"\g<1>" + when, blob) for name, blob in _entries(data).items()})


def _with(data, changed):
    return _zip({**_entries(data), **changed})


def _entries(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _zip(entries):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, blob in entries.items():
            archive.writestr(zipfile.ZipInfo(name), blob, zipfile.ZIP_DEFLATED, 9)
    return stream.getvalue()


def _damaged(data):
    """Change a byte in the middle of the document, so that its checksum is wrong."""
    start = data.index(b"word/document.xml") + 300
    return data[:start] + bytes([data[start] ^ 0xFF]) + data[start + 1 :]


def _compound(*streams):
    directory = b"".join(name.encode("utf-16-le").ljust(128, b"\x00") for name in ("Root Entry", *streams))
    return _OLE_HEADER + directory.ljust(1024, b"\x00")
