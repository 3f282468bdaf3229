import pytest

from spark_jobs.chunk_documents.sections import MAX_PATH_CHARS, Section, sections_of


def test_a_page_is_a_section():
    text = "first\n# no heading\fsecond"
    assert sections_of(text, "pages") == [Section("", 0, 18, 1), Section("", 19, 25, 2)]
    assert text[19:25] == "second"


def test_blank_pages_count_but_have_no_section():
    text = "\f \nfirst words\f\n\flast"
    assert [(section.page, text[section.start : section.end].strip()) for section in sections_of(text, "pages")] == [
        (2, "first words"),
        (4, "last"),
    ]


def test_no_page_has_text():
    assert sections_of("\f\f", "pages") == []


def test_documents_without_pages_say_so():
    assert [section.page for section in sections_of("a\fb", "text")] == [0]
    assert [section.page for section in sections_of("# a\n\nb\fc\n\n# d\n\ne", "markdown")] == [0, 0]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_sections_begin_behind_their_headings_whatever_ends_lines(end):
    text = end.join(["one", "# two", "", "three\u2028\x0b", "four", "# five", "six"])
    found = [(section.heading_path, text[section.start : section.end]) for section in sections_of(text, "markdown")]
    assert found == [("", f"one{end}"), ("two", f"{end}three\u2028\x0b{end}four{end}"), ("five", "six")]


def test_a_long_heading_is_not_copied_into_each_section_below_it():
    text = "# " + "x" * 10_000 + "\n\n" + "## y\n\nz\n\n" * 3
    assert [len(section.heading_path) for section in sections_of(text, "markdown")] == [MAX_PATH_CHARS] * 3
