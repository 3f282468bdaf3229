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


@pytest.mark.parametrize("text", ["> # a\nb\n" * 20_000, "- c\n" + "  > # a\n  b\n" * 20_000])
def test_a_text_that_makes_the_parser_look_ahead_again_and_again_is_one_section(text):
    assert sections_of("# d\n\n" + text, "markdown") == [Section("", 0, len(text) + 5)]


@pytest.mark.parametrize(
    "quotes",
    [
        "> a\n- b\n" * 3000,
        ">\na\n" * 3000,
        "> a\n> > b\n> \n" * 3000,
        ">" * 18 + " a\n" + "b\n" * 3000,
        "> # a\nb\n\n" * 3000,
        "> # a\n> b\n" * 3000,
    ],
)
def test_very_many_quotes_leave_the_headings(quotes):
    assert [section.heading_path for section in sections_of(f"# a\n\n{quotes}\n# b\n\nc", "markdown")] == ["a", "b"]


@pytest.mark.parametrize(("lines", "is_definition"), [(10, True), (3000, False)])
@pytest.mark.parametrize("end", ["\n", "\r"])
def test_a_definition_of_very_many_lines_is_text(lines, is_definition, end):
    text = end.join(["x", "", "[a]: b 'c", *["d"] * lines, "e'", "===", "", "f"])
    (*_, last) = sections_of(text, "markdown")
    assert last.heading_path.startswith("[a]: b 'c") is not is_definition
