"""PDF files, good and bad, by a minimal writer of our own and by matplotlib."""

import hashlib
import io
import zlib

import matplotlib as mpl

__all__ = ["files", "write_pdf"]

_LINE_CHARS = 80
_LEADING = 14
# ISO 32000-1, 7.6.3.3, Algorithm 2: what fills a password up to 32 bytes.
_PADDING = bytes.fromhex("28bf4e5e4e758a4164004e56fffa01082e2e00b6d0683e802f0ca9fe6453697a")


def files(corpus):
    """Make the files; gives {name: (bytes, what is expected of it)}."""
    texts = [row["text"] for row in corpus[7:10]]
    article = write_pdf([_text(text) for text in texts], title="Three abstracts")
    phrase = texts[2][:30]
    return {
        "article.pdf": (article, {"accepted": phrase, "title": "Three abstracts", "pages": 3}),
        "blank-page.pdf": (write_pdf([_text(texts[0]), b"", _text(texts[2])]), {"accepted": phrase, "pages": 3}),
        "matplotlib.pdf": (_by_matplotlib(), {"accepted": "Größe der Düse", "title": "A figure", "pages": 2}),
        "owner-password.pdf": (_encrypted(texts, "", "owner"), {"accepted": phrase, "pages": 3}),
        "wrong-offsets.pdf": (article.replace(b"startxref\n", b"startxref\n9"), {"accepted": phrase, "pages": 3}),
        "encrypted.pdf": (_encrypted(texts, "secret", "owner"), {"rejected": "encrypted"}),
        "scanned.pdf": (write_pdf([_PICTURE, _PICTURE]), {"rejected": "no_text_layer"}),
        "ten-thousand-pages.pdf": (write_pdf([_text("page")], copies=10_000), {"rejected": "too_many_pages"}),
        "cut.pdf": (article[:200], {"rejected": "parser_error"}),
        "garbage.pdf": (b"%PDF-1.7\n" + hashlib.sha512(b"garbage").digest() * 8, {"rejected": "parser_error"}),
        "web-page.pdf": (b"<!DOCTYPE html><html><body>404 not found</body></html>", {"rejected": "wrong_format"}),
        "empty.pdf": (b"", {"rejected": "blank_text"}),
        "article.txt": (article, {"rejected": "binary_content"}),
    }


# One grey pixel, drawn over the whole page: what a scanner makes, in small.
_PICTURE = b"q 612 0 0 792 0 0 cm BI /W 1 /H 1 /CS /G /BPC 8 ID \x80 EI Q"


def _text(text):
    lines = []
    while text:
        cut = len(text) if len(text) <= _LINE_CHARS else text.rindex(" ", 0, _LINE_CHARS) + 1
        lines.append(text[:cut])
        text = text[cut:]
    escaped = (line.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)") for line in lines)
    shown = "".join(f"({line}) Tj T*\n" for line in escaped)
    return f"BT /F1 11 Tf {_LEADING} TL 72 720 Td\n{shown}ET".encode("latin-1")


def write_pdf(contents, title="", copies=1, encrypt=None):
    """Write pages with these content streams; `encrypt` is (the /Encrypt dictionary, the file's key)."""
    pages = range(4, 4 + 2 * len(contents), 2)
    kids = " ".join(f"{number} 0 R" for number in pages for _ in range(copies))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(contents) * copies} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for number, content in zip(pages, contents, strict=True):
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {number + 1} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>".encode()
        )
        packed = zlib.compress(content, 9)
        if encrypt:
            packed = _rc4(_object_key(encrypt[1], number + 1), packed)
        head = f"<< /Length {len(packed)} /Filter /FlateDecode >>\nstream\n".encode()
        objects.append(head + packed + b"\nendstream")
    trailer = "/Root 1 0 R /ID [<00112233445566778899aabbccddeeff> <00112233445566778899aabbccddeeff>]"
    if title:
        objects.append(f"<< /Title ({title}) >>".encode())
        trailer += f" /Info {len(objects)} 0 R"
    if encrypt:
        objects.append(encrypt[0])
        trailer += f" /Encrypt {len(objects)} 0 R"
    return _file(objects, trailer)


def _file(objects, trailer):
    body, offsets = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n", []
    for number, content in enumerate(objects, 1):
        offsets.append(len(body))
        body += f"{number} 0 obj\n".encode() + content + b"\nendobj\n"
    size = len(objects) + 1
    entries = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    end = f"xref\n0 {size}\n0000000000 65535 f \n{entries}trailer\n<< /Size {size} {trailer} >>\n"
    return body + end.encode() + f"startxref\n{len(body)}\n%%EOF\n".encode()


def _encrypted(texts, user, owner):
    """Encrypt with the standard handler, revision 2, RC4 of 40 bits (ISO 32000-1, 7.6.3, Algorithms 2, 3 and 4)."""
    permissions = -4
    owner_entry = _rc4(hashlib.md5(_padded(owner)).digest()[:5], _padded(user))
    identifier = bytes.fromhex("00112233445566778899aabbccddeeff")
    seed = _padded(user) + owner_entry + (permissions & 0xFFFFFFFF).to_bytes(4, "little") + identifier
    key = hashlib.md5(seed).digest()[:5]
    user_entry = _rc4(key, _PADDING)
    dictionary = f"<< /Filter /Standard /V 1 /R 2 /O <{owner_entry.hex()}> /U <{user_entry.hex()}> /P {permissions} >>"
    return write_pdf([_text(text) for text in texts], encrypt=(dictionary.encode(), key))


def _padded(password):
    return (password.encode() + _PADDING)[:32]


def _object_key(key, number):
    # Algorithm 1: the object's number and generation are part of its key.
    return hashlib.md5(key + number.to_bytes(3, "little") + b"\x00\x00").digest()[: len(key) + 5]


def _rc4(key, data):
    state, j = list(range(256)), 0
    for i in range(256):
        j = (j + state[i] + key[i % len(key)]) % 256
        state[i], state[j] = state[j], state[i]
    result, i, j = bytearray(), 0, 0
    for byte in data:
        i = (i + 1) % 256
        j = (j + state[i]) % 256
        state[i], state[j] = state[j], state[i]
        result.append(byte ^ state[(state[i] + state[j]) % 256])
    return bytes(result)


def _by_matplotlib():
    mpl.use("pdf")
    from matplotlib import pyplot as plt
    from matplotlib.backends.backend_pdf import PdfPages

    stream = io.BytesIO()
    with PdfPages(stream, metadata={"Title": "A figure", "CreationDate": None}) as pages:
        for text in ("Die Größe der Düse", "the boundary layer becomes turbu-\nlent"):
            figure = plt.figure(figsize=(4, 3))
            figure.text(0.1, 0.5, text)
            pages.savefig(figure)
            plt.close(figure)
    return stream.getvalue()
