# ruff: noqa: E501 - what the readers are given stands on one line
"""Every kind of file: what is read of it, where, and what is said of the rest."""

from __future__ import annotations

import base64
import builtins
import datetime
import io
import json
import sys
from email.message import EmailMessage
from pathlib import Path

import openpyxl
import pytest
from files import pdf_bytes, written
from langchain_core.documents import Document
from office import docx_bytes, flate_bomb, paragraph, raw_pdf, relations, shown, table, zipped

from rag_chain.errors import DocumentLoadError, DocumentUnsupportedError
from rag_chain.ingestion.loaders import interpret, parse
from rag_chain.ingestion.reading import Reading
from rag_chain.ingestion.splitting import split

STRICT = "http://purl.oclc.org/ooxml/wordprocessingml/main"


def chunks(data: bytes | str, name: str, size: int = 800) -> list[Document]:
    return split(parse(data.encode() if isinstance(data, str) else data, name), size, 100)


def text(data: bytes | str, name: str) -> str:
    return "\n".join(chunk.page_content for chunk in chunks(data, name))


def reading(data: bytes | str, name: str) -> Reading:
    return interpret(data.encode() if isinstance(data, str) else data, name)


def reason(data: bytes, name: str) -> str:
    with pytest.raises(DocumentLoadError) as caught:
        parse(data, name)
    return caught.value.reason


def headings(found: list[Document]) -> list[str | None]:
    return [chunk.metadata.get("heading") for chunk in found]


# Word


def test_word_symbols_hyphens_and_equations() -> None:
    runs = (
        '<w:p><w:r><w:t>Model A</w:t><w:noBreakHyphen/><w:t>7, 3</w:t><w:sym w:font="Symbol" w:char="F06D"/><w:t>g </w:t>'
        '<w:sym w:font="Symbol" w:char="F0B3"/></w:r><m:oMath><m:f><m:num><m:r><m:t>a+b</m:t></m:r></m:num><m:den><m:r>'
        "<m:t>c</m:t></m:r></m:den></m:f></m:oMath><w:r><w:rPr><w:vanish/></w:rPr><w:t>hidden</w:t></w:r></w:p>"
    )
    assert text(docx_bytes(runs), "a.docx") == "Model A-7, 3µg ≥(a+b)/c"


def test_word_headings_by_style_and_outline_level() -> None:
    styles = (
        '<w:style w:styleId="Base"><w:name w:val="heading 2"/></w:style>'
        '<w:style w:styleId="Own"><w:name w:val="House"/><w:basedOn w:val="Base"/></w:style>'
        '<w:style w:styleId="Loop"><w:name w:val="x"/><w:basedOn w:val="Loop"/></w:style>'
    )
    body = (
        paragraph("Terms", '<w:outlineLvl w:val="0"/>')
        + paragraph("One.", '<w:pStyle w:val="Loop"/>')
        + paragraph("Delivery", '<w:pStyle w:val="Own"/>')
        + paragraph("Two.")
    )
    found = chunks(docx_bytes(body, styles=styles), "a.docx")
    assert headings(found) == ["Terms", "Terms > Delivery"]


def test_word_comments_notes_margins_and_lists() -> None:
    body = "".join(
        paragraph(word, f'<w:numPr><w:ilvl w:val="{level}"/><w:numId w:val="7"/></w:numPr>')
        for word, level in (("Pump", 0), ("Seal", 1), ("Hose", 1), ("Tank", 0))
    )
    levels = "".join(
        f'<w:lvl w:ilvl="{i}"><w:numFmt w:val="{form}"/><w:lvlText w:val="{label}"/></w:lvl>'
        for i, (form, label) in enumerate((("decimal", "%1."), ("lowerLetter", "%1.%2)")))
    )
    found = text(
        docx_bytes(
            body,
            numbering=f'<w:abstractNum w:abstractNumId="1">{levels}</w:abstractNum>'
            '<w:num w:numId="7"><w:abstractNumId w:val="1"/></w:num>',
            comments='<w:comment w:author="Reviewer"><w:p><w:r><w:t>Check the seal.</w:t></w:r></w:p></w:comment>',
            footnotes=f"<w:footnote>{paragraph('Since May.')}</w:footnote>",
            header1=paragraph("Order 55-B"),
            footer1=paragraph("Page 3 of 9"),
        ),
        "a.docx",
    )
    assert found.split("\n") == [
        "1. Pump", "1.a) Seal", "1.b) Hose", "2. Tank", "Since May.", "Comment by Reviewer: Check the seal.",
        "Order 55-B",
    ]  # fmt: skip


def test_word_strict_and_entities() -> None:
    assert text(docx_bytes(paragraph("Strict words."), namespace=STRICT), "a.docx") == "Strict words."
    outside = '<!DOCTYPE d [<!ENTITY host SYSTEM "file:///etc/hostname">]>'
    assert text(docx_bytes(paragraph("left &host; right"), prolog=outside), "a.docx").split() == ["left", "right"]


def test_word_cells_stand_in_their_columns() -> None:
    spanned = table(("Wide", "C"), ("a", "b", "c"), properties={(0, 0): '<w:gridSpan w:val="2"/>'})
    merged = table(
        ("Area", "Town"), ("East", "Rena"), ("", "Mora"),
        properties={(1, 0): '<w:vMerge w:val="restart"/>', (2, 0): "<w:vMerge/>"},
    )  # fmt: skip
    assert text(docx_bytes(spanned), "a.docx") == "Wide |  | C\na | b | c"
    assert text(docx_bytes(merged), "a.docx") == "Area | Town\nEast | Rena\nEast | Mora"


# Tables


def rows(count: int) -> list[tuple[str, str, str]]:
    return [
        ("Name", "Amount", "Hall"),
        *((f"Part {i:02d} of the stock", str(3 * i), f"hall {i % 4}") for i in range(count)),
    ]


def html_table(count: int) -> str:
    lines = (
        "<tr>" + "".join(f"<{'th' if i == 0 else 'td'}>{cell}</{'th' if i == 0 else 'td'}>" for cell in row) + "</tr>"
        for i, row in enumerate(rows(count))
    )
    return f"<h1>Stock</h1><p>All parts.</p><table>{''.join(lines)}</table><p>The end.</p>"


def markdown_table(count: int) -> str:
    head, *body = [" | ".join(row) for row in rows(count)]
    return "\n".join(["# Stock", "", f"| {head} |", "|---|---|---|", *(f"| {row} |" for row in body), "", "The end."])


@pytest.mark.parametrize(
    ("name", "data", "names"),
    [
        ("a.html", html_table(60), "Name | Amount | Hall"),
        ("a.docx", docx_bytes(table(*rows(60))), "Name | Amount | Hall"),
        ("a.md", markdown_table(60), "| Name | Amount | Hall |\n|---|---|---|"),
        ("a.org", "* Stock\n" + "\n".join(f"| {' | '.join(row)} |" + ("\n|---+---|" if i == 0 else "")
                                         for i, row in enumerate(rows(60))), "| Name | Amount | Hall |"),
    ],
)  # fmt: skip
def test_each_chunk_of_a_long_table_names_its_columns(name: str, data: str | bytes, names: str) -> None:
    found = [chunk.page_content for chunk in chunks(data, name) if "Part " in chunk.page_content]
    assert len(found) > 3
    assert all(names in content and len(content) <= 800 for content in found)
    whole = "\n".join(found)
    assert all(whole.count(f"Part {i:02d} of") == 1 for i in range(60))


def test_html_cells_stand_in_their_columns() -> None:
    page = (
        "<table><tr><th>Area</th><th>Town</th><th>Sum</th></tr><tr><td rowspan=2>East</td><td>Rena</td><td>1</td></tr>"
        "<tr><td>Mora</td><td>2</td></tr><tr><td></td><td>Elva</td><td>3</td></tr><tr><td colspan=2>all</td><td>6</td></tr>"
        "</table>"
    )
    assert text(page, "a.html").split("\n") == [
        "Area | Town | Sum", "East | Rena | 1", "East | Mora | 2", " | Elva | 3", "all |  | 6",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("table", "records"),
    [
        ("sep=;\nname;n\nAda;1\n", ["name: Ada\nn: 1"]),
        (
            "Stock of May\n\nname,n,m\nAda,1,2\nBo,3,4\n",
            ["Stock of May", "name: Ada\nn: 1\nm: 2", "name: Bo\nn: 3\nm: 4"],
        ),
        ("1,2\n3,4\n5,6\n", ["column 1: 1\ncolumn 2: 2", "column 1: 3\ncolumn 2: 4", "column 1: 5\ncolumn 2: 6"]),
        ("name,2023,2024\nAda,1,2\nBo,3,4\n", ["name: Ada\n2023: 1\n2024: 2", "name: Bo\n2023: 3\n2024: 4"]),
        ("name,n\nAda\nBo,1,2\n", ["name: Ada", "name: Bo\nn: 1\ncolumn 3: 2"]),
        ("name,n\nAda,1\x00\n", ["name: Ada\nn: 1"]),
    ],
)
def test_csv_of_all_sorts(table: str, records: list[str]) -> None:
    assert [document.page_content for document in parse(table.encode(), "a.csv")] == records


def test_csv_with_a_quote_that_never_closes() -> None:
    found = reading('name,remark\nAda,fine\nBo,"never closed\nCy,fine\n', "a.csv")
    assert [d.page_content for d in found.documents] == [
        "name: Ada\nremark: fine", "name: Bo\nremark: never closed", "name: Cy\nremark: fine",
    ]  # fmt: skip
    assert found.omissions == [
        "the quote that opens in line 3 is never closed: quotes are read as plain characters from there"
    ]


def test_spreadsheets() -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Stock"
    for row in (["Stock of May"], [], ["Part", "Price", "Since"], ["Pump", 12.5, None], ["Seal", 3, None]):
        sheet.append(row)
    sheet["C4"] = datetime.date(2024, 5, 1)
    sheet.merge_cells("C4:C5")
    hidden = book.create_sheet("Old")
    hidden["A1"] = "gone"
    hidden.sheet_state = "hidden"
    buffer = io.BytesIO()
    book.save(buffer)
    found = reading(buffer.getvalue(), "a.xlsx")
    assert [d.page_content for d in found.documents] == [
        "Stock of May", "Part: Pump\nPrice: 12.5\nSince: 2024-05-01", "Part: Seal\nPrice: 3\nSince: 2024-05-01",
    ]  # fmt: skip
    assert found.omissions == ["the sheet 'Old' is hidden"]
    chunk = split(found.documents, 800, 0)[0]
    assert {n: chunk.metadata[n] for n in ("sheet", "row", "end_row", "cells", "end_cells")} == {
        "sheet": "Stock", "row": 0, "end_row": 2, "cells": "A1", "end_cells": "C5",
    }  # fmt: skip


# JSON


def test_json_of_all_sorts() -> None:
    assert text('{"name": "Ada", "age": 36}', "a.json") == "name: Ada\nage: 36"
    assert text('{"n": 1}\n{"n": 2}\n', "a.json") == "n: 1\n\nn: 2"
    dialect = '{\n  // a remark, "quoted"\n  "url": "http://x/*y", /* more */ "port": 8080, // end\n}'
    assert text(dialect, "a.json") == "url: http://x/*y\nport: 8080"
    found = reading('{"n": 1}\n{"n": }\n{"n": 3}\n', "a.jsonl")
    assert [d.page_content for d in found.documents] == ["n: 1", "n: 3"]
    assert found.omissions == ["line 2: not valid JSON (Expecting value)"]


# What is no text


def test_what_is_no_text_stays_out() -> None:
    letters = base64.b64encode(bytes(range(256)) * 40).decode()
    wrapped = base64.encodebytes(bytes(range(256)) * 4).decode()
    assert text(f"# Logo\n\n![x](data:image/png;base64,{letters})\n\nBehind.", "a.md") == "# Logo\n\n![x]()\n\nBehind."
    assert text(json.dumps({"name": "scan", "data": letters}), "a.json") == "name: scan"
    assert text(f"Key:\n{wrapped}\nEnd.", "a.txt").split() == ["Key:", "End."]
    assert text("\x1b[1;31mFAIL\x1b[0m pump \x1b]0;title\x07off\n", "a.log") == "FAIL pump off"
    assert text("tem\u00adpera\u200bture\ufeff", "a.txt") == "temperature"
    assert text("start\n" * 50 + "lost\x00\x00line\n", "a.log").endswith("lostline")
    assert "ACGT" * 60 in text("ACGT" * 60, "a.txt")
    (chunk,) = chunks(f"one\n{wrapped}two\n", "a.txt")
    assert (chunk.metadata["start_line"], chunk.metadata["end_line"]) == (1, wrapped.count("\n") + 2)


def test_html_shows_what_a_reader_sees() -> None:
    page = (
        '<nav><a href="/">Home</a></nav><p>Now <del>9</del> <ins>8</ins> euro. <s>Sale.</s></p>'
        '<p style="display: none">secret</p><div hidden>secret</div><template>secret</template>'
        "<ruby>漢<rp>(</rp><rt>kan</rt><rp>)</rp></ruby>"
    )
    assert text(page, "a.html").split("\n") == ["Now 8 euro.", "", "漢"]
    assert text("<nav>Only a menu</nav>", "a.html") == "Only a menu"


def test_content_decides_where_the_ending_lies() -> None:
    assert text(
        "<!DOCTYPE html><html><body><h1>Head</h1><p>A &amp; B<script>x</script></p></body></html>", "a.txt"
    ) == ("Head\n\nA & B")
    assert text("<html><table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table></html>", "a.xls") == (
        "a | b\n1 | 2"
    )
    assert text(docx_bytes(paragraph("Words.")), "a.doc") == "Words."
    assert text(pdf_bytes("A page."), "page") == "A page."
    assert text(r"{\rtf1\ansi Plain words.\par}", "a.doc") == "Plain words."
    assert text("name\tn\nAda\t1\n", "a.xls") == "name: Ada\nn: 1"
    assert text("::msgcat::mcset de Yes Ja\n", "de.msg") == "::msgcat::mcset de Yes Ja"


# Markup


@pytest.mark.parametrize(
    ("name", "data", "unseen"),
    [
        ("a.adoc", "= Pump\n:author: x\n\n// remark\n== Start\n\nOpen it.\n\n=== Night\n\nClose it.\n", ("remark", "author")),
        ("a.org", "#+TITLE: Pump\n# remark\n* Start\n:PROPERTIES:\n:ID: 77\n:END:\nOpen it.\n** Night :tag:\nClose it.\n",
         ("remark", "77", "tag")),
        ("a.tex", "\\documentclass{article}\n\\title{Pump}\n\\begin{document}\n\\section{Start}\nOpen \\emph{it}. % remark\n"
                  "\\subsection*{Night}\nClose it.\n\\end{document}\n", ("remark", "documentclass", "emph")),
        ("a.rst", "Start\n=====\n\nOpen it.\n\n.. remark\n   more of it\n\nNight\n-----\n\nClose it.\n", ("remark", "more")),
        ("a.mdx", "import {T} from 't'\nexport const a = 1\n\n# Start\n\nOpen it.\n\n{/* remark */}\n\n## Night\n\nClose it.\n",
         ("import", "export", "remark")),
        ("a.md", "<!-- remark -->\n# Start\n\nOpen it.\n\n## Night\n\nClose it.\n", ("remark",)),
    ],
)  # fmt: skip
def test_headings_and_lines_of_markup(name: str, data: str, unseen: tuple[str, ...]) -> None:
    found = [chunk for chunk in chunks(data, name) if "it." in chunk.page_content]
    assert headings(found) == ["Start", "Start > Night"]
    lines = data.split("\n")
    for chunk, words in zip(found, ("Open", "Close it."), strict=True):
        place = lines[chunk.metadata["start_line"] - 1 : chunk.metadata["end_line"]]
        assert any(words in line for line in place)
    whole = text(data, name)
    assert not [word for word in unseen if word in whole]
    if name in ("a.adoc", "a.org", "a.tex"):
        assert found[0].metadata["title"] == "Pump"


def test_rst_takes_short_underlines_as_docutils_does() -> None:
    assert headings(chunks("Übersicht\n========\n\nText.", "a.rst")) == ["Übersicht"]
    assert headings(chunks("Hi there\n--\n\nText.", "a.rst")) == [None]


def test_subtitles() -> None:
    cues = "1\n00:00:01,000 --> 00:00:03,500\n<i>The gate opens</i>\n\n2\n00:00:03,600 --> 01:00:06,000\nat six.\n"
    (chunk,) = chunks("\ufeff" + cues, "a.srt")
    assert chunk.page_content == "The gate opens at six."
    assert (chunk.metadata["start_time"], chunk.metadata["end_time"]) == ("0:00:01", "1:00:06")
    (chunk,) = chunks("WEBVTT\n\nNOTE x\n\n00:05.000 --> 00:07.000 align:start\n<v Ann>Hello &amp; welcome\n", "a.vtt")
    assert (chunk.page_content, chunk.metadata["start_time"]) == ("Hello & welcome", "0:00:05")


def test_html_and_xml_chunks_have_their_own_lines() -> None:
    page = (
        "<html><body>\n"
        + "\n".join(f"<p>\nParagraph {i} of the long page.\n</p>" for i in range(60))
        + "</body></html>"
    )
    found = chunks(page, "a.html", 200)
    lines = page.split("\n")
    assert len(found) > 5
    for chunk in found:
        place = "\n".join(lines[chunk.metadata["start_line"] - 1 : chunk.metadata["end_line"]])
        assert all(line in place for line in chunk.page_content.split("\n"))
        assert chunk.metadata["end_line"] - chunk.metadata["start_line"] < 25
    (chunk,) = chunks('<?xml version="1.0"?>\n<stock>\n<part id="7"><name>Pump</name>\n'
                      "<note>of <b>brass</b></note></part></stock>", "a.xml")  # fmt: skip
    assert chunk.page_content == "part.id: 7\nname: Pump\nnote: of brass"
    assert (chunk.metadata["start_line"], chunk.metadata["end_line"]) == (3, 4)


# Presentations, books, OpenDocument

_A = 'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"'
_P = 'xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main"'
_REL = 'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"'


def shape(words: str, kind: str = "body") -> str:
    return (
        f'<p:sp><p:nvSpPr><p:cNvPr id="1" name="x"/><p:nvPr><p:ph type="{kind}"/></p:nvPr></p:nvSpPr>'
        f"<p:txBody><a:p><a:r><a:t>{words}</a:t></a:r></a:p></p:txBody></p:sp>"
    )


def test_powerpoint_slides() -> None:
    def slide(content: str, options: str = "") -> str:
        return f"<p:sld {_P} {_A} {options}><p:cSld><p:spTree>{content}</p:spTree></p:cSld></p:sld>"

    parts: dict[str, str | bytes] = {
        "_rels/.rels": relations({"ppt/presentation.xml": "officeDocument"}),
        "ppt/presentation.xml": f'<p:presentation {_P} {_REL}><p:sldIdLst><p:sldId r:id="r1"/><p:sldId r:id="r2"/>'
        '<p:sldId r:id="r3"/></p:sldIdLst></p:presentation>',
        "ppt/_rels/presentation.xml.rels": relations({f"slides/slide{n}.xml": "slide" for n in (1, 2, 3)}),
        "ppt/slides/slide1.xml": slide(shape("Points.") + shape("Plan", "title") + shape("7", "sldNum")),
        "ppt/slides/slide2.xml": slide(shape("Old"), 'show="0"'),
        "ppt/slides/slide3.xml": slide(shape("End", "title") + shape("Thanks.")),
        "ppt/slides/_rels/slide1.xml.rels": relations({"../notesSlides/n1.xml": "notesSlide"}),
        "ppt/notesSlides/n1.xml": f"<p:notes {_P} {_A}><p:cSld><p:spTree>{shape('Speak up.')}</p:spTree></p:cSld></p:notes>",
    }
    found = reading(zipped(parts), "a.pptx")
    assert [(d.metadata["slide"], d.metadata["heading"], d.page_content) for d in found.documents] == [
        (1, "Plan", "Plan\nPoints.\nNotes: Speak up."), (3, "End", "End\nThanks."),
    ]  # fmt: skip
    assert found.omissions == ["slide 2 is hidden"]


_ODF = " ".join(
    f'xmlns:{short}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
    for short, name in (("office", "office"), ("text", "text"), ("table", "table"), ("draw", "drawing"),
                        ("presentation", "presentation"))
) + ' xmlns:dc="http://purl.org/dc/elements/1.1/"'  # fmt: skip


def test_opendocument_text() -> None:
    body = (
        "<text:tracked-changes><text:changed-region><text:deletion><text:p>deleted</text:p></text:deletion>"
        '</text:changed-region></text:tracked-changes><text:h text:outline-level="1">Boiler</text:h>'
        '<text:p>more<text:s text:c="2"/>words<text:note><text:note-citation>1</text:note-citation><text:note-body>'
        "<text:p>A note.</text:p></text:note-body></text:note></text:p>"
        "<text:list><text:list-item><text:p>item</text:p></text:list-item></text:list>"
        '<text:section text:display="none"><text:p>hidden</text:p></text:section>'
        "<table:table><table:table-row><table:table-cell><text:p>Area</text:p></table:table-cell>"
        "<table:table-cell><text:p>Town</text:p></table:table-cell></table:table-row><table:table-row>"
        '<table:table-cell table:number-columns-repeated="2"><text:p>x</text:p></table:table-cell></table:table-row>'
        "</table:table>"
    )
    content = f"<office:document-content {_ODF}><office:body><office:text>{body}</office:text></office:body></office:document-content>"
    data = zipped({"mimetype": "application/vnd.oasis.opendocument.text", "content.xml": content})
    found = parse(data, "a.odt")
    assert [(d.metadata.get("heading"), d.page_content) for d in found] == [
        ("Boiler", "Boiler\nmore  words\n- item\nArea | Town\nx | x"), (None, "A note."),
    ]  # fmt: skip


def test_opendocument_slides() -> None:
    body = (
        '<draw:page><draw:frame presentation:class="title"><draw:text-box><text:p>Plan</text:p></draw:text-box></draw:frame>'
        "<draw:frame><draw:text-box><text:p>Points.</text:p></draw:text-box></draw:frame><presentation:notes><draw:frame>"
        "<draw:text-box><text:p>Speak up.</text:p></draw:text-box></draw:frame></presentation:notes></draw:page>"
    )
    content = (
        f"<office:document-content {_ODF}><office:body><office:presentation>{body}</office:presentation></office:body>"
        "</office:document-content>"
    )
    data = zipped({"mimetype": "application/vnd.oasis.opendocument.presentation", "content.xml": content})
    (found,) = parse(data, "a.odp")
    assert (found.page_content, found.metadata["slide"], found.metadata["heading"]) == (
        "Plan\nPoints.\nNotes: Speak up.", 1, "Plan",
    )  # fmt: skip


def test_books() -> None:
    opf = (
        '<package xmlns="http://www.idpf.org/2007/opf"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/">'
        '<dc:title>Sea</dc:title></metadata><manifest><item id="n" href="nav.xhtml" properties="nav" '
        'media-type="application/xhtml+xml"/><item id="c" href="c%201.xhtml" media-type="application/xhtml+xml"/>'
        '</manifest><spine><itemref idref="n"/><itemref idref="c"/></spine></package>'
    )
    data = zipped(
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
            '<rootfile full-path="OEBPS/book.opf"/></rootfiles></container>',
            "OEBPS/book.opf": opf,
            "OEBPS/nav.xhtml": "<html xmlns='http://www.w3.org/1999/xhtml'><body><p>Contents</p></body></html>",
            "OEBPS/c 1.xhtml": "<html xmlns='http://www.w3.org/1999/xhtml'><body><h1>Calm</h1><p>No wind.</p></body></html>",
        }
    )
    (found,) = parse(data, "a.epub")
    assert found.page_content == "Calm\n\nNo wind."
    assert (found.metadata["title"], found.metadata["chapter"], found.metadata["heading"]) == ("Sea", 2, "Calm")
    assert "start_line" not in found.metadata


# Mail


def message(encoding: str) -> EmailMessage:
    mail = EmailMessage()
    mail["Subject"], mail["From"], mail["To"] = "Fähren", "a@example.org", "b@example.org"
    mail["Date"] = "Mon, 01 Jan 2024 10:00:00 +0000"
    mail.set_content("Die Fähre fährt um elf, und diese Zeile ist lang genug, um gebrochen zu werden, sagt man.",
                     cte=encoding)  # fmt: skip
    mail.add_alternative("<p>Die Fähre (HTML).</p>", subtype="html")
    mail.add_attachment(bytes(range(256)) * 100, maintype="image", subtype="png", filename="plan.png")
    mail.add_attachment(docx_bytes(paragraph("Attached words.")), maintype="application", subtype="octet-stream",
                        filename="words.docx")  # fmt: skip
    mail.add_attachment(bytes(range(256)), maintype="application", subtype="zip", filename="all.zip")
    return mail


@pytest.mark.parametrize("encoding", ["base64", "quoted-printable"])
def test_mail(encoding: str) -> None:
    found = reading(message(encoding).as_bytes(), "a.eml")
    body, attachment = found.documents
    assert body.page_content.startswith("Subject: Fähren\nFrom: a@example.org\nTo: b@example.org\nDate: ")
    assert body.page_content.endswith(
        "Die Fähre fährt um elf, und diese Zeile ist lang genug, um gebrochen zu werden, sagt man."
    )
    assert (body.metadata["subject"], body.metadata["from"], body.metadata["date"]) == (
        "Fähren", "a@example.org", "2024-01-01T10:00:00+00:00",
    )  # fmt: skip
    assert (attachment.page_content, attachment.metadata["attachment"]) == ("Attached words.", "words.docx")
    assert found.omissions == ["the attachment all.zip: .zip is not a document"]


def test_mailboxes_and_saved_pages() -> None:
    box = b"".join(
        b"From a@example.org Mon Jan  1 10:00:00 2024\nFrom: a@example.org\nSubject: No %d\n\n>From here on: %d.\n\n"
        % (i, i)
        for i in (1, 2)
    )
    assert [(d.metadata["message"], d.metadata["subject"]) for d in parse(box, "a.mbox")] == [(1, "No 1"), (2, "No 2")]
    assert "From here on: 2." in text(box, "a.mbox")
    page = EmailMessage()
    page["Subject"], page["Snapshot-Content-Location"] = "Saved", "https://example.org/x"
    page.set_content("<h1>Head</h1><p>Grüße</p>", subtype="html")
    (found,) = parse(page.as_bytes(), "a.mhtml")
    assert (found.page_content, found.metadata["address"]) == ("Head\n\nGrüße", "https://example.org/x")


def test_rtf() -> None:
    rtf = r"{\rtf1\ansi{\info{\title Rules}}First \b bold\b0  word \'e9.\par {\v hidden}Second.\par}"
    found = text(rtf, "a.rtf")
    assert "First bold word é." in found
    assert "Second." in found
    assert "hidden" not in found


# PDF


def test_pdf_pages_that_say_nothing_are_named() -> None:
    broken = raw_pdf(shown("One."), shown("Two."), shown("Three."), page={1: "/Contents 77"})
    found = reading(broken, "a.pdf")
    assert [(d.metadata["page"], d.page_content) for d in found.documents] == [(1, "One."), (3, "Three.")]
    assert found.omissions == ["page 2: no text could be read (blank, or damaged)"]


def test_pdf_labels_outline_notes_and_forms() -> None:
    labels = "/PageLabels << /Nums [0 << /S /r >> 2 << /S /D >>] >> /Outlines 100 0 R"
    objects = {
        100: "<< /First 101 0 R /Last 102 0 R /Count 2 >>",
        101: "<< /Title (Start) /Parent 100 0 R /Next 102 0 R /Dest [10 0 R /Fit] >>",
        102: "<< /Title (Night) /Parent 100 0 R /Prev 101 0 R /Dest [14 0 R /Fit] >>",
        103: "<< /Type /Annot /Subtype /Text /Rect [9 9 20 20] /Contents (Checked in June.) >>",
    }
    data = raw_pdf(
        shown("Start", "Open it."), shown("More."), shown("Before.", "Night", "Close it."),
        catalog=labels, objects=objects, page={1: "/Annots [103 0 R]"},
    )  # fmt: skip
    assert [(d.metadata["page"], d.metadata.get("page_label"), d.metadata["heading"], d.page_content)
            for d in parse(data, "a.pdf")] == [
        (1, "i", "Start", "Start\nOpen it."), (2, "ii", "Start", "More.\nNote: Checked in June."),
        (3, "1", "Start", "Before."), (3, "1", "Night", "Night\nClose it."),
    ]  # fmt: skip


def test_pdf_hyphens_running_heads_and_cropped_spreads() -> None:
    assert text(raw_pdf(shown("the tempera-", "ture of the boil-", "er")), "a.pdf") == "the temperature of the boiler"
    book = raw_pdf(*(shown("House rules, for staff", f"Topic {i} is this.", f"Page {i} of 9") for i in range(1, 10)))
    found = text(book, "a.pdf")
    assert found.count("House rules") == found.count("of 9") == 1
    assert found.count("is this.") == 9
    spread = shown("Left words.") + b" " + shown("Right words.", x=372)
    crops = {0: "/CropBox [0 0 300 800]", 1: "/CropBox [300 0 600 800]"}
    assert [d.page_content.strip() for d in parse(raw_pdf(spread, spread, page=crops), "a.pdf")] == [
        "Left words.", "Right words.",
    ]  # fmt: skip


def test_pdf_letters_that_are_painted_twice() -> None:
    letters = " ".join(
        f"1 0 0 1 {72 + 9 * i + shift} 720 Tm ({letter}) Tj"
        for i, letter in enumerate("HARBOUR RULES") for shift in (0, 0.3) if letter != " "
    )  # fmt: skip
    assert text(raw_pdf(f"BT /F1 12 Tf {letters} ET".encode()), "a.pdf") == "HARBOUR RULES"


# Bombs and other kinds


def _entities() -> str:
    nested = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 12))
    return f'<!DOCTYPE x [<!ENTITY e0 "lollol">{nested}]>'


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.docx", docx_bytes("<w:p/>" * 3_000_000)),
        ("b.docx", docx_bytes(paragraph("x &e11; y"), prolog=_entities())),
        ("a.pdf", flate_bomb(120)),
        ("a.xlsx", zipped({"xl/workbook.xml": "<x/>", "xl/worksheets/sheet1.xml": "<c/>" * 5_000_000})),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bombs_are_refused(name: str, data: bytes) -> None:
    assert any(word in reason(data, name) for word in ("expands too much", "amplification"))


def test_entities_of_a_page_are_not_expanded() -> None:
    page = f'{_entities()}<html xmlns="http://www.w3.org/1999/xhtml"><body><p title="&e11;">x &e11; y</p></body></html>'
    try:
        assert len(text(page, "a.xhtml")) < 100
    except DocumentLoadError as error:
        assert error.reason  # noqa: PT017 - either outcome is right


def test_kinds_that_cannot_be_read() -> None:
    for name, data in (
        ("~$a.docx", b"\x05owner"),
        (".~lock.a.odt#", b"x"),
        ("a.mp3", b"ID3"),
        ("a.xyz", bytes(range(256))),
    ):
        with pytest.raises(DocumentUnsupportedError):
            parse(data, name)


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delitem(sys.modules, "rag_chain.ingestion.readers.epub", raising=False)
    monkeypatch.delitem(sys.modules, "rag_chain.ingestion.readers.package", raising=False)
    real = builtins.__import__

    def without(name: str, *arguments: object, **options: object) -> object:
        if name == "lxml":
            raise ModuleNotFoundError("No module named 'lxml'", name="lxml")
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    assert "pip install 'rag_chain[loaders]'" in reason(zipped({"x": "y"}), written(tmp_path, "a.epub", b"x").name)
