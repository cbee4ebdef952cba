from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from moon.evaluation.report.html import Html, Part, el, join, page, section, table

NASTY = '</td><script>alert("x")</script>&\'"'


class Reader(HTMLParser):
    """Collects the tags, attributes and text of a document."""

    def __init__(self, markup):
        super().__init__()
        self.tags, self.values, self.text = [], [], ""
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.values += [value for _, value in attrs]

    def handle_data(self, data):
        self.text += data


@given(st.text())
def test_text_and_attributes_survive_as_they_are(text):
    read = Reader(el("p", text, title=text))
    assert read.tags == ["p"]
    expected = text.replace("\r\n", "\n").replace("\r", "\n")
    if "\0" not in text:
        assert read.text.replace("\r\n", "\n").replace("\r", "\n") == expected
        assert read.values[0].replace("\r\n", "\n").replace("\r", "\n") == expected


def test_markup_is_kept_and_strings_inside_lists_are_escaped():
    assert join(el("b", "a<b"), None, ["<", [Html("<br>")]], 3, 0.5) == "<b>a&lt;b</b>&lt;<br>30.5"
    assert el("p", class_="a", stroke_width=2.0, id=None) == '<p class="a" stroke-width="2"></p>'


def test_table_escapes_every_cell_and_names_the_column_of_each():
    read = Reader(table([NASTY, "b"], [[NASTY, 1], [el("i", NASTY), NASTY]]))
    assert "script" not in read.tags and read.text.count(NASTY) == 4
    assert read.values.count("b") == 2, "data-label of the cells of the second column"


def test_page_is_whole_and_links_to_its_sections():
    text = page(
        NASTY, NASTY, [Part("one", "One", section("one", "One", NASTY)), Part("two", "", section("two", "Two"))]
    )
    read = Reader(text)
    assert text.startswith("<!doctype html>") and "script" not in read.tags
    assert "#one" in read.values and "#two" not in read.values
    assert any("default-src 'none'" in value for value in read.values if value)
    assert "url(" not in text and "@import" not in text
    assert "#main" in read.values and "main" in read.values, "a way past the table of contents"
