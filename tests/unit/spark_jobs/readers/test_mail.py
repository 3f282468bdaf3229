import pytest

from forebay.documents import RejectionReason as Reason
from spark_jobs.parse_documents.readers.contract import UnparsableError
from spark_jobs.parse_documents.readers.mail import read_mail

_HEAD = b"From: a@example.org\r\nSubject: The subject\r\n"


def test_the_plain_body_comes_before_html():
    data = _HEAD + (
        b'Content-Type: multipart/alternative; boundary="x"\r\n\r\n--x\r\nContent-Type: text/plain\r\n\r\nplain\r\n'
        b"--x\r\nContent-Type: text/html\r\n\r\n<p>html</p>\r\n--x--\r\n"
    )
    found = read_mail(data)
    assert (found.text, found.format, found.title) == ("plain", "text", "The subject")


def test_a_blank_plain_body_leaves_the_html_one():
    sentence = b"The forebay holds water until the turbines need it. " * 8
    data = _HEAD + (
        b'Content-Type: multipart/alternative; boundary="x"\r\n\r\n--x\r\nContent-Type: text/plain\r\n\r\n \r\n'
        b"--x\r\nContent-Type: text/html\r\n\r\n<p>" + sentence + b"</p>\r\n--x--\r\n"
    )
    found = read_mail(data)
    assert found.text.startswith("The forebay")
    assert found.format == "markdown"


@pytest.mark.parametrize("html", [b"<p>See you <b>at ten</b>.</p>", b"<html><body>See you at ten.</body></html>"])
def test_a_short_html_body_is_read_whole(html):
    assert read_mail(_HEAD + b"Content-Type: text/html\r\n\r\n" + html).text.replace("*", "") == "See you at ten."


def test_an_attached_message_is_only_named():
    data = _HEAD + (
        b'Content-Type: multipart/mixed; boundary="x"\r\n\r\n--x\r\nContent-Type: text/plain\r\n\r\nbody\r\n'
        b"--x\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\ninner body\r\n--x--\r\n"
    )
    assert read_mail(data).text == "body\n\nAttachments: message/rfc822"


@pytest.mark.parametrize("value", [b"=?utf-8?q?Gr=C3=B6=C3=9Fe?=", "Größe".encode()])
def test_subjects_are_decoded(value):
    assert read_mail(b"Subject: " + value + b"\n\nbody\n").title == "Größe"


@pytest.mark.parametrize("header", [b"From: <>", b"From: a@[", b'To: "unclosed', b"Date: yesterday", b"Date: -1"])
def test_malformed_headers_cost_nothing(header):
    assert read_mail(header + b"\nSubject: s\n\nbody\n").text == "body"


def test_html_in_another_charset_is_decoded_once():
    sentence = "Die Größe der Düse beträgt fünf Zentimeter, natürlich auch bei höheren Geschwindigkeiten. " * 4
    page = f'<html><head><meta charset="iso-8859-1"></head><body><p>{sentence}</p></body></html>'
    data = _HEAD + b"Content-Type: text/html; charset=iso-8859-1\r\n\r\n" + page.encode("latin-1")
    assert read_mail(data).text.startswith("Die Größe der Düse")


def test_a_letter_to_very_many_people_names_the_first_of_them():
    people = ", ".join(f"reader{number}@example.org" for number in range(4000))
    found = read_mail(f"From: a@example.org\nTo: {people}\nSubject: s\n\nbody\n".encode())
    assert found.metadata["to"].startswith("reader0@example.org, reader1@example.org")
    assert len(found.metadata["to"]) == 2000


def test_text_without_headers_is_no_message():
    with pytest.raises(UnparsableError) as caught:
        read_mail(b"Just a note: with a colon.\n\nAnd more.\n")
    assert caught.value.reason == Reason.WRONG_FORMAT
