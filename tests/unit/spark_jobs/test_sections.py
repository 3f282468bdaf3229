from spark_jobs.chunk_documents.sections import Section, sections_of


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
