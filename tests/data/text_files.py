"""Files that hold text: plain, Markdown, HTML, tables, JSON, XML and mail, good and bad."""

import io
import json
from email.message import EmailMessage
from xml.sax.saxutils import escape

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["files"]

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c636060600000000400015c"
    "cdff690000000049454e44ae426082"
)

_GERMAN = (
    "Die Größe der Düse beträgt fünf Zentimeter. Die Übergänge zwischen laminarer und turbulenter Strömung müssen "
    "geprüft werden, natürlich auch bei höheren Geschwindigkeiten über der Oberfläche des Flügels."
)
_RUSSIAN = (
    "Пограничный слой на плоской пластине становится турбулентным при больших числах Рейнольдса. Опыты в "
    "аэродинамической трубе показали, что переход зависит от шероховатости поверхности и от степени турбулентности."
)
_JAPANESE = (
    "風洞実験の結果、翼の表面の境界層は高いレイノルズ数で乱流に遷移することが確認された。表面の粗さは遷移の位置に大きな影響を与える。"
    "これらの測定は超音速の流れについても行われた。"
)


def files(corpus):
    """Make the files; gives {name: (bytes, what is expected of it)}."""
    return {
        **_plain(corpus),
        **_markup(corpus),
        **_tables(corpus),
        **_json(corpus),
        **_xml(corpus),
        **_mail(corpus),
    }


def _plain(corpus):
    first, phrase = corpus[0]["text"], "a propeller slipstream"
    markdown = f"# {corpus[1]['title']}\n\n## Abstract\n\n{corpus[1]['text']}\n"
    return {
        "plain.txt": (first.encode(), {"accepted": phrase}),
        "SHOUTING.TXT": (first.encode(), {"accepted": phrase}),
        "crlf.text": (first.replace(" . ", " .\r\n").encode(), {"accepted": phrase}),
        "utf8-bom.txt": (_GERMAN.encode("utf-8-sig"), {"accepted": "Die Größe der Düse"}),
        "utf16-le.txt": (b"\xff\xfe" + _GERMAN.encode("utf-16-le"), {"accepted": "Die Größe der Düse"}),
        "utf16-be.txt": (b"\xfe\xff" + _RUSSIAN.encode("utf-16-be"), {"accepted": "Пограничный слой"}),
        "utf32.txt": (b"\xff\xfe\x00\x00" + _JAPANESE.encode("utf-32-le"), {"accepted": "風洞実験の結果"}),
        "latin1.txt": (_GERMAN.encode("latin-1"), {"accepted": "Die Größe der Düse"}),
        "koi8-r.txt": (_RUSSIAN.encode("koi8-r"), {"accepted": "Пограничный слой"}),
        "shift-jis.txt": (_JAPANESE.encode("shift-jis"), {"accepted": "風洞実験の結果"}),
        "notes.rst": (f"Notes\n=====\n\n{first}\n".encode(), {"accepted": phrase}),
        "notes.adoc": (f"= Notes\n\n{first}\n".encode(), {"accepted": phrase}),
        "tunnel.log": (b"12:00:01 fan on\n12:00:09 mach 2.2 reached\n", {"accepted": "mach 2.2 reached"}),
        "report.md": (markdown.encode(), {"accepted": "high-speed viscous flow", "title": corpus[1]["title"]}),
        "untitled.markdown": (b"No heading.\n\nOnly *text*.\n", {"accepted": "Only *text*."}),
        "empty.txt": (b"", {"rejected": "blank_text"}),
        "white-space.txt": (b" \n\t\r\n ", {"rejected": "blank_text"}),
        "picture.txt": (PNG, {"rejected": "binary_content"}),
        "cut-utf16.txt": (b"\xff\xfea\x00b", {"rejected": "unknown_encoding"}),
        "picture.png": (PNG, {"rejected": "unsupported_format"}),
        "no-ending": (first.encode(), {"rejected": "unsupported_format"}),
    }


def _markup(corpus):
    page = (
        '<html><head><meta charset="utf-8"><title>{title}</title></head><body><nav>Home | About us</nav>'
        "<h1>{title}</h1><p>{text}</p></body></html>"
    )
    english = page.format(title="Wings in a slipstream", text=corpus[0]["text"])
    german = page.format(title="Düsen", text=_GERMAN).replace("utf-8", "iso-8859-1")
    rows = "".join(f"<tr><td>{mach}</td><td>{drag}</td></tr>" for mach, drag in ((1.5, "low"), (2.2, "rising")))
    table = page.format(
        title="Drag", text=corpus[3]["text"] + f"<table><tr><th>mach</th><th>drag</th></tr>{rows}</table>"
    )
    xhtml = f'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml">{english[6:]}'.replace(
        '"utf-8">', '"utf-8"/>'
    )
    return {
        "page.html": (english.encode(), {"accepted": "a propeller slipstream", "title": "Wings in a slipstream"}),
        "page.xhtml": (xhtml.encode(), {"accepted": "a propeller slipstream", "title": "Wings in a slipstream"}),
        "latin1.htm": (german.encode("latin-1"), {"accepted": "Die Größe der Düse", "title": "Düsen"}),
        "table.html": (table.encode(), {"accepted": "| 2.2 | rising |", "title": "Drag"}),
        "tag-soup.html": (
            f"<p>{corpus[0]['text']}<p><b>{corpus[1]['text']}<table><td>".encode(),
            {"accepted": "high-speed viscous flow"},
        ),
        "empty.html": (b"", {"rejected": "blank_text"}),
        "no-text.html": (b"<html><body></body></html>", {"rejected": "parser_error"}),
        "picture.html": (PNG, {"rejected": "binary_content"}),
    }


def _tables(corpus):
    rows = [{"_id": row["_id"], "title": row["title"], "text": row["text"]} for row in corpus[:4]]
    frame = pd.DataFrame(rows)
    lines = "\n".join(json.dumps(row) for row in rows).encode()
    parquet = _parquet(frame)
    grid = pd.DataFrame({"model": ["cone", "wedge"], "mach": [2.2, 4.0], "remark": ["blunt; short", 'the "long" one']})
    multiline = pd.DataFrame({"name": ["first"], "abstract": [corpus[4]["text"].replace(" . ", " .\n")]})
    return {
        "rows.jsonl": (lines, {"accepted": "a propeller slipstream", "documents": 4}),
        "rows.ndjson": (lines + b"\n\n", {"accepted": "high-speed viscous flow", "documents": 4}),
        "rows.parquet": (parquet, {"accepted": "a propeller slipstream", "documents": 4}),
        "grid.csv": (grid.to_csv(index=False).encode(), {"accepted": "model: cone; mach: 2.2; remark: blunt; short"}),
        "semicolons.csv": (grid.to_csv(index=False, sep=";").encode(), {"accepted": "model: wedge; mach: 4.0"}),
        "grid.tsv": (grid.to_csv(index=False, sep="\t").encode(), {"accepted": "model: wedge; mach: 4.0"}),
        "utf16.csv": (grid.to_csv(index=False).encode("utf-16"), {"accepted": "model: wedge; mach: 4.0"}),
        "multiline.csv": (multiline.to_csv(index=False).encode(), {"accepted": "name: first; abstract: "}),
        "numbers.csv": (b"1.5,0.02\n2.2,0.03\n", {"accepted": "2.2; 0.03"}),
        "quoted.csv": (
            b'id,text\n1,"He said ""no"", then; left"\n2,plain\n',
            {"accepted": 'id: 1; text: He said "no", then; left'},
        ),
        "decimal-commas.csv": (b"model;mach\ncone;2,2\nwedge;4,0\n", {"accepted": "model: wedge; mach: 4,0"}),
        "one-column.csv": (b"cone\nwedge\n", {"accepted": "wedge"}),
        "broken.jsonl": (b'{"_id": "1", "text": ', {"rejected": "invalid_json"}),
        "no-text.parquet": (_parquet(frame.drop(columns="text").head(1)), {"rejected": "missing_text"}),
        "cut.parquet": (parquet[: len(parquet) // 2], {"rejected": "parser_error"}),
        "empty.csv": (b"", {"rejected": "blank_text"}),
        "only-commas.csv": (b",,,\n,,,\n", {"rejected": "blank_text"}),
        "picture.csv": (PNG, {"rejected": "binary_content"}),
    }


def _parquet(frame):
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), stream)
    return stream.getvalue()


def _json(corpus):
    document = {"title": corpus[2]["title"], "text": corpus[2]["text"], "metadata": {"year": 1957, "tags": ["a"]}}
    data = {"tunnel": {"name": "blowdown", "runs": [{"mach": 2.2, "ok": True}, {"mach": 4, "ok": False}]}}
    return {
        "document.json": (
            json.dumps(document).encode(),
            {"accepted": "the boundary-layer equations", "title": corpus[2]["title"], "metadata": {"year": 1957}},
        ),
        "data.json": (json.dumps(data).encode(), {"accepted": "tunnel.runs[2].mach: 4"}),
        "list.json": (b'["cone", "wedge"]', {"accepted": "[2]: wedge"}),
        "utf16.json": (json.dumps(document).encode("utf-16"), {"accepted": "the boundary-layer equations"}),
        "surrogates.json": (b'{"text": "lone \\ud800, pair \\ud83d\\ude00"}', {"accepted": "pair \U0001f600"}),
        "cut.json": (json.dumps(document).encode()[:80], {"rejected": "invalid_json"}),
        "deep.json": (b"[" * 5000 + b"]" * 5000, {"rejected": "invalid_json"}),
        "nothing.json": (b"{}", {"rejected": "blank_text"}),
        "picture.json": (PNG, {"rejected": "wrong_format"}),
    }


def _xml(corpus):
    text, title = escape(corpus[5]["text"]), escape(corpus[5]["title"])
    article = f"<article><title>{title}</title><body><p>{text}</p><p>See <i>also</i> part two.</p></body></article>"
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    bomb = f'<!DOCTYPE a [<!ENTITY l0 "lol">{laughs}]><a>&l9;</a>'
    small_bomb = bomb.replace("&l9;", "&l2;")
    blowup = f'<!DOCTYPE a [<!ENTITY x "{"long " * 4000}">]><a>{"&x;" * 2000}</a>'
    entity = '<!DOCTYPE a [<!ENTITY co "Cornell Aeronautical Laboratory">]><a><p>Work of the &co;, 1957.</p></a>'
    outside = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a><p>Nothing of &x; is read.</p></a>'
    return {
        "article.xml": (article.encode(), {"accepted": "See also part two.", "title": corpus[5]["title"]}),
        "namespaces.xml": (
            b'<m:a xmlns:m="urn:x"><m:title>Cones</m:title><m:p>blunt</m:p><!-- no --></m:a>',
            {"accepted": "blunt", "title": "Cones"},
        ),
        "utf16.xml": (
            f'<?xml version="1.0" encoding="utf-16"?>{article}'.encode("utf-16"),
            {"accepted": "See also part"},
        ),
        "entity.xml": (entity.encode(), {"accepted": "Work of the Cornell Aeronautical Laboratory, 1957."}),
        "outside-entity.xml": (outside.encode(), {"accepted": "Nothing of is read."}),
        "billion-laughs.xml": (bomb.encode(), {"rejected": "expands_too_far"}),
        "thousand-laughs.xml": (small_bomb.encode(), {"rejected": "expands_too_far"}),
        "quadratic-blowup.xml": (blowup.encode(), {"rejected": "expands_too_far"}),
        "attribute-bomb.xml": (bomb.replace("<a>&l9;", '<a b="&l9;">').encode(), {"rejected": "expands_too_far"}),
        "deep.xml": (b"<a>" * 300 + b"x" + b"</a>" * 300, {"rejected": "expands_too_far"}),
        "cut.xml": (article.encode()[:200], {"rejected": "parser_error"}),
        "prose.xml": (corpus[5]["text"].encode(), {"rejected": "wrong_format"}),
        "picture.xml": (PNG, {"rejected": "wrong_format"}),
        "no-text.xml": (b"<a><b/></a>", {"rejected": "blank_text"}),
    }


def _message(subject):
    message = EmailMessage()
    message["From"] = "Ludwig Prandtl <prandtl@example.org>"
    message["To"] = "kutta@example.org"
    message["Date"] = "Mon, 06 Mar 2023 10:20:30 +0100"
    message["Subject"] = subject
    return message


def _mail(corpus):
    plain = _message("Wind tunnel runs")
    plain.set_content(corpus[6]["text"], cte="quoted-printable")
    html = _message("Größe der Düse")
    html.set_content(f"<html><body><p>{_GERMAN}</p><p>{_GERMAN}</p></body></html>", subtype="html", cte="base64")
    both = _message("Two attachments")
    both.set_content("The plain version of the report is attached, together with a picture of the model.\n")
    both.add_alternative("<p>The HTML version</p>", subtype="html")
    both.add_attachment(PNG, maintype="image", subtype="png", filename="model.png")
    both.add_attachment(corpus[6]["text"], filename="report.txt")
    both.set_boundary("outer")
    next(iter(both.iter_parts())).set_boundary("inner")
    charset = plain.as_bytes().replace(b"utf-8", b"x-nobody-knows").replace(b"us-ascii", b"x-nobody-knows")
    blank = _message("Nothing else")
    blank.set_content("\n")
    headers = {
        "from": "Ludwig Prandtl <prandtl@example.org>",
        "to": "kutta@example.org",
        "date": "2023-03-06T10:20:30+01:00",
    }
    return {
        "plain.eml": (
            plain.as_bytes(),
            {"accepted": corpus[6]["text"][:40], "title": "Wind tunnel runs", "metadata": headers},
        ),
        "html.eml": (html.as_bytes(), {"accepted": "Die Größe der Düse", "title": "Größe der Düse"}),
        "attachments.eml": (
            both.as_bytes(),
            {"accepted": "Attachments: model.png, report.txt", "title": "Two attachments"},
        ),
        "unknown-charset.eml": (charset, {"accepted": corpus[6]["text"][:40]}),
        "no-body.eml": (blank.as_bytes(), {"rejected": "blank_text"}),
        "prose.eml": (corpus[6]["text"].encode(), {"rejected": "wrong_format"}),
        "picture.eml": (PNG, {"rejected": "wrong_format"}),
    }
