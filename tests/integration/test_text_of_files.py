# ruff: noqa: E501 - what the readers are given stands on one line
"""What a careful reader finds in a file is in its chunks, what he does not see is not: small files of many kinds."""

from __future__ import annotations

import base64
import io
import json
import random

import openpyxl
import openpyxl.comments
import pytest
from compound import compound_bytes
from files import pdf_bytes
from office import docx_bytes, paragraph, raw_pdf, relations, shown, table, zipped
from reportlab.pdfgen.canvas import Canvas

from rag_chain.errors import DocumentLoadError
from rag_chain.ingestion.loaders import interpret
from rag_chain.ingestion.reading import Reading
from rag_chain.ingestion.splitting import split


def reading(data: bytes | str, name: str) -> Reading:
    return interpret(data.encode() if isinstance(data, str) else data, name)


def text(data: bytes | str, name: str) -> str:
    return "\n".join(chunk.page_content for chunk in split(reading(data, name).documents, 800, 100))


# Word


def run(words: str, properties: str = "") -> str:
    return f'<w:r><w:rPr>{properties}</w:rPr><w:t xml:space="preserve">{words}</w:t></w:r>'


def test_tables_in_cells_comments_and_text_boxes_of_word() -> None:
    body = (
        f"<w:tbl><w:tr><w:tc>{paragraph('outer')}{table(('deep', 'er'))}{paragraph('')}</w:tc><w:tc>{paragraph('right')}</w:tc></w:tr></w:tbl>"
        f"<w:p><w:r><w:pict><w:txbxContent>{table(('boxed', 'in'))}</w:txbxContent></w:pict></w:r></w:p>"
    )
    found = text(docx_bytes(body, comments=f'<w:comment w:author="Q">{table(("no", "yes"))}</w:comment>'), "a.docx")
    assert found == "outer deep, er | right\n\nboxed | in\nComment by Q: no, yes"


def test_text_that_a_style_of_word_hides() -> None:
    hidden = "<w:rPr><w:vanish/></w:rPr>"
    heir, back = '<w:rStyle w:val="Heir"/>', '<w:rStyle w:val="Back"/>'
    styles = (
        f'<w:style w:styleId="Hid"><w:name w:val="Hid"/>{hidden}</w:style>'
        '<w:style w:styleId="Heir"><w:name w:val="Heir"/><w:basedOn w:val="Hid"/></w:style>'
        '<w:style w:styleId="Back"><w:name w:val="Back"/><w:basedOn w:val="Hid"/><w:rPr><w:vanish w:val="0"/></w:rPr></w:style>'
    )
    body = f"<w:p>{run('seen ')}{run('secret', heir)}{run('shown', back)}</w:p>" + paragraph(
        "all hidden", '<w:pStyle w:val="Hid"/>'
    )
    assert text(docx_bytes(body, styles=styles), "a.docx") == "seen shown"


def test_lists_of_word_go_on_or_start_anew() -> None:
    numbering = (
        '<w:abstractNum w:abstractNumId="0"><w:lvl w:ilvl="0"><w:numFmt w:val="decimal"/><w:lvlText w:val="%1."/></w:lvl>'
        '<w:lvl w:ilvl="1"><w:numFmt w:val="lowerLetter"/><w:lvlText w:val="%1.%2)"/></w:lvl><w:styleLink w:val="House"/></w:abstractNum>'
        '<w:abstractNum w:abstractNumId="1"><w:numStyleLink w:val="House"/></w:abstractNum>'
        '<w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num><w:num w:numId="2"><w:abstractNumId w:val="0"/></w:num>'
        '<w:num w:numId="3"><w:abstractNumId w:val="0"/><w:lvlOverride w:ilvl="0"><w:startOverride w:val="5"/></w:lvlOverride></w:num>'
        '<w:num w:numId="4"><w:abstractNumId w:val="1"/></w:num>'
    )

    def item(words: str, number: int, level: int = 0) -> str:
        return paragraph(words, f'<w:numPr><w:ilvl w:val="{level}"/><w:numId w:val="{number}"/></w:numPr>')

    body = item("a", 1) + item("b", 1, 1) + item("c", 2) + item("d", 3) + item("e", 3) + item("f", 4)
    assert text(docx_bytes(body, numbering=numbering), "a.docx").split("\n") == [
        "1. a", "1.a) b", "2. c", "5. d", "6. e", "1. f"
    ]  # fmt: skip


def test_powers_symbols_and_choices_of_word() -> None:
    raised = '<w:vertAlign w:val="superscript"/>'
    choice = '<w:r><w:fldChar><w:ffData><w:ddList><w:result w:val="1"/><w:listEntry w:val="Oslo"/><w:listEntry w:val="Bergen"/></w:ddList></w:ffData></w:fldChar></w:r>'
    symbols = run("\uf0b3 5", '<w:rFonts w:ascii="Symbol"/>')
    body = f"<w:p>{run('10')}{run('6', raised)}{run(' m')}{run('2', raised)} {symbols} {choice}</w:p>"
    assert text(docx_bytes(body), "a.docx") == "10^6 m2≥ 5Bergen"


# Archives that are cut off


def sentences(count: int) -> list[str]:
    return [f"Sentence {number} says {random.Random(number).random()}." for number in range(count)]


def test_a_document_of_word_that_is_cut_off_is_read_in_part() -> None:
    whole = docx_bytes("".join(map(paragraph, sentences(2000))))
    found = reading(whole[: len(whole) // 2], "a.docx")
    assert found.documents[0].page_content.startswith("Sentence 0 says")
    assert found.omissions == ["its archive is cut off within word/document.xml: what follows is missing"]


def test_a_book_that_is_cut_off_is_read_in_part() -> None:
    numbers = range(5)
    items = "".join(f'<item id="i{n}" href="p{n}.xhtml" media-type="application/xhtml+xml"/>' for n in numbers)
    whole = zipped(
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfile full-path="c.opf"/></container>',
            "c.opf": f'<package xmlns="http://www.idpf.org/2007/opf"><manifest>{items}</manifest><spine>'
            + "".join(f'<itemref idref="i{n}"/>' for n in numbers)
            + "</spine></package>",
        }
        | {f"p{n}.xhtml": f"<html><body><p>Chapter {n}: {' '.join(sentences(200))}</p></body></html>" for n in numbers}
    )
    found = reading(whole[: len(whole) * 2 // 3], "a.epub")
    assert {document.metadata["chapter"] for document in found.documents} >= {1, 2, 3}
    assert found.omissions[0].startswith("its archive is cut off")
    assert found.omissions[-1] == "chapter 5: its archive is cut off before p4.xhtml"


# Presentations and OpenDocument


def test_smart_art_and_newer_comments_of_powerpoint() -> None:
    names = 'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main" xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"'
    parts = {
        "_rels/.rels": relations({"ppt/presentation.xml": "officeDocument"}),
        "ppt/presentation.xml": f'<p:presentation {names}><p:sldIdLst><p:sldId id="256" r:id="r1"/></p:sldIdLst></p:presentation>',
        "ppt/_rels/presentation.xml.rels": relations({"slides/slide1.xml": "slide"}),
        "ppt/slides/slide1.xml": f"<p:sld {names}><p:sp><p:txBody><a:p><a:r><a:t>Body</a:t></a:r></a:p></p:txBody></p:sp></p:sld>",
        "ppt/slides/_rels/slide1.xml.rels": relations({"../d.xml": "diagramData", "../c.xml": "comments"}),
        "ppt/d.xml": f"<d {names}><a:p><a:r><a:t>First step</a:t></a:r></a:p></d>",
        "ppt/c.xml": f"<c {names}><a:p><a:r><a:t>Too long</a:t></a:r></a:p></c>",
    }
    assert text(zipped(dict(parts)), "a.pptx") == "Body\nFirst step\nComment: Too long"


CHART = (
    '<c:chartSpace xmlns:c="http://schemas.openxmlformats.org/drawingml/2006/chart" xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"><c:chart>'
    "<c:title><c:tx><c:rich><a:p><a:r><a:t>Sales</a:t></a:r></a:p></c:rich></c:tx></c:title><c:plotArea><c:barChart>"
    '<c:ser><c:tx><c:v>2023</c:v></c:tx><c:cat><c:pt idx="0"><c:v>North</c:v></c:pt><c:pt idx="1"><c:v>South</c:v></c:pt></c:cat><c:val><c:pt idx="0"><c:v>4.5</c:v></c:pt></c:val></c:ser>'
    '<c:ser><c:tx><c:v>2024</c:v></c:tx><c:val><c:pt idx="0"><c:v>5</c:v></c:pt><c:pt idx="1"><c:v>6</c:v></c:pt></c:val></c:ser>'
    "</c:barChart></c:plotArea></c:chart></c:chartSpace>"
)


def test_charts_of_word_are_tables() -> None:
    drawing = '<w:p><w:r><w:t>See</w:t><w:drawing><c:chart xmlns:c="http://schemas.openxmlformats.org/drawingml/2006/chart" r:id="r1"/></w:drawing></w:r></w:p>'
    opening = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main" xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"'
    parts = {
        "_rels/.rels": relations({"word/document.xml": "officeDocument"}),
        "word/document.xml": f"<w:document {opening}><w:body>{drawing}</w:body></w:document>",
        "word/_rels/document.xml.rels": relations({"charts/chart1.xml": "chart"}),
        "word/charts/chart1.xml": CHART,
    }
    assert text(zipped(dict(parts)), "a.docx") == "See\nSales\n | 2023 | 2024\nNorth | 4.5 | 5\nSouth |  | 6"


def test_percentages_comments_and_second_tables_of_a_sheet() -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    for row in (
        ["Item", "Discount"],
        ["Bolt", 0.155],
        [],
        ["South"],
        ["Part", "Weight"],
        ["Nut", 7],
        [],
        ["Owner", "Kim"],
    ):
        sheet.append(row)
    sheet["B2"].number_format = "0.0%"
    sheet["B6"].comment = openpyxl.comments.Comment("weigh again", "Q")
    sheet["E20"].comment = openpyxl.comments.Comment("nothing here", "Q")
    buffer = io.BytesIO()
    book.save(buffer)
    found = reading(buffer.getvalue(), "a.xlsx").documents
    assert [(d.page_content, d.metadata["cells"]) for d in found] == [
        ("Item: Bolt\nDiscount: 15.5%", "A2"), ("South", "A4"), ("Part: Nut\nWeight: 7 (comment: weigh again)", "A6"),
        ("Part: Owner\nWeight: Kim", "A8"), ("Comment: nothing here", "E20"),
    ]  # fmt: skip


ODF = " ".join(
    f'xmlns:{short}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
    for short, name in {"office": "office", "text": "text", "style": "style"}.items()
)


def test_hidden_text_and_numbers_of_opendocument() -> None:
    content = (
        f'<office:document-content {ODF}><office:automatic-styles><style:style style:name="T1"><style:text-properties text:display="none"/></style:style>'
        '<text:list-style style:name="L1"><text:list-level-style-number text:level="1" style:num-format="1" style:num-suffix="."/>'
        '<text:list-level-style-number text:level="2" style:num-format="a" text:display-levels="2"/></text:list-style></office:automatic-styles>'
        '<office:body><office:text><text:p>seen <text:span text:style-name="T1">secret</text:span></text:p><text:p text:style-name="T1">hidden</text:p>'
        '<text:list text:style-name="L1"><text:list-item><text:p>one</text:p><text:list><text:list-item><text:p>deep</text:p></text:list-item></text:list></text:list-item>'
        "<text:list-item><text:p>two</text:p><text:p>more</text:p></text:list-item></text:list>"
        '<text:list text:style-name="L1" text:continue-numbering="true"><text:list-item><text:p>three</text:p></text:list-item></text:list>'
        "<text:list><text:list-item><text:p>plain</text:p></text:list-item></text:list></office:text></office:body></office:document-content>"
    )
    found = text(zipped({"mimetype": "application/vnd.oasis.opendocument.text", "content.xml": content}), "a.odt")
    assert found.split("\n") == ["seen ", "1. one", "1.a deep", "2. two", "more", "3. three", "- plain"]


def test_a_flat_opendocument_file() -> None:
    flat = f'<?xml version="1.0"?><office:document {ODF}><office:body><office:text><text:h text:outline-level="1">Head</text:h><text:p>Words</text:p></office:text></office:body></office:document>'
    [document] = reading(flat, "a.fodt").documents
    assert (document.page_content, document.metadata["heading"]) == ("Head\nWords", "Head")


# Pages and XML


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("<p>seen</p><p class=x>secret</p><p id=y>hidden</p>", "seen"),
        ("<script>x</script><p class=x>a tab</p>", "a tab"),
        ("<p>now <span style='text-decoration: line-through'>10</span> 12</p>", "now 12"),
        ("<p>seen<span style='font-size:0px'>secret</span></p>", "seen"),
        ("<div style='font-size:0'><b style='font-size:9px'>of a mail</b></div>", "of a mail"),
        ("<p>10<sup>6</sup> H<sub>2</sub>O m<sup>2</sup></p>", "10^6 H2O m2"),
        ("<p>3&#150;7 &#147;x&#148; &#128;5</p>", "3–7 “x” €5"),
        ("<p><math><msup><mi>x</mi><mn>2</mn></msup><mo>=</mo><mfrac><mrow><mi>a</mi><mo>+</mo><mi>b</mi></mrow><mi>c</mi></mfrac></math>.</p>", "x^2=(a+b)/c."),
    ],
)  # fmt: skip
def test_what_is_seen_of_a_page(body: str, expected: str) -> None:
    style = "<style>/* of .no */ @media print {.z {color: red}} .x, #y {display: none}</style>"
    assert text(f"<html><head>{style}</head><body>{body}</body></html>", "a.html") == expected


@pytest.mark.parametrize(
    ("declared", "codec", "words"),
    [("gb2312", "gbk", "朱镕基 访问"), ("shift_jis", "cp932", "①番の港は八時"), ("iso-8859-1", "cp1252", "It’s 5 €"), ("euc-kr", "cp949", "똠방 안녕")],
)  # fmt: skip
def test_charsets_that_are_declared_by_the_name_of_a_smaller_one(declared: str, codec: str, words: str) -> None:
    page = f'<html><head><meta charset="{declared}"></head><body><p>{words}</p></body></html>'
    assert text(page.encode(codec), "a.html") == words
    mail = f"Subject: x\nMIME-Version: 1.0\nContent-Type: text/plain; charset={declared}\nContent-Transfer-Encoding: 8bit\n\n{words}"
    assert text(mail.encode(codec), "a.eml").endswith(words)


@pytest.mark.parametrize(
    ("xml", "expected"),
    [
        ('<!DOCTYPE d [<!ENTITY co "Harbour Trust">]><d><p>Paid by &co; today</p></d>', "p: Paid by Harbour Trust today"),
        ("<d><p>One<br/>two H<sub>2</sub>O</p><s>In<l><i>apple</i><i>pear</i></l></s></d>", "p: One two H2O\ns: In apple pear"),
        ("<d><x><![CDATA[<p>Leaves at <b>nine</b>.</p><script>x()</script>]]></x></d>", "x: Leaves at nine."),
        ("<d><x>&lt;p&gt;Leaves&lt;/p&gt;</x><y>a &lt; b</y></d>", "x: Leaves\ny: a < b"),
    ],
)  # fmt: skip
def test_the_text_of_xml(xml: str, expected: str) -> None:
    assert text(xml, "a.xml") == expected


def test_xml_that_is_cut_off_is_read_in_part() -> None:
    found = reading("<d><p>First</p>\n<p>second is c", "a.xml")
    assert found.documents[0].page_content == "p: First\np: second is c"
    assert "premature end" in found.omissions[0]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.pdf", "<!doctype html><p>Please log in</p>", "Please log in"),
        ("a.docx", "just words", "just words"),
        ("a.xls", '<?xml version="1.0"?><?mso-application progid="Excel.Sheet"?><Workbook><Data>Bolt</Data></Workbook>', "Data: Bolt"),
        ("a.doc", '<?xml version="1.0"?><w:d xmlns:w="urn:w"><w:t>Old words</w:t></w:d>', "t: Old words"),
        ("a.txt", "Subject: x\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\nRsOkaHJl", "Subject: x\n\nFähre"),
        ("Inbox", "From a@example.org Mon Jan  1 10:00:00 2024\nSubject: x\nTo: b\n\none\n\nFrom c@example.org Mon Jan  1 10:00:00 2024\nSubject: y\n\ntwo", "Subject: x\nTo: b\n\none\nSubject: y\n\ntwo"),
        ("a.txt", "Note: no mail.\nStatus: open\n\nwords", "Note: no mail.\nStatus: open\n\nwords"),
    ],
)  # fmt: skip
def test_content_decides_where_the_ending_lies(name: str, content: str, expected: str) -> None:
    assert text(content, name) == expected


# Mail


def parts(*inner: str, kind: str = "mixed") -> str:
    body = "".join(f"--B\n{part}\n" for part in inner)
    return f"Subject: x\nMIME-Version: 1.0\nContent-Type: multipart/{kind}; boundary=B\n\n{body}--B--\n"


PLAIN = "Content-Type: text/plain\n\nSee"


@pytest.mark.parametrize(
    ("mail", "expected"),
    [
        ("\ufeffSubject: x\n\nwords", "words"),
        ("From a@example.org Mon Jan  1 10:00:00 2024\nSubject: x\n\nwords", "words"),
        (parts(PLAIN, "Content-Type: text/calendar\n\nLOCATION:Hall 4", kind="alternative"), "LOCATION:Hall 4"),
        (parts(PLAIN, "Content-Type: message/delivery-status\n\nReporting-MTA: dns; mx\n\nStatus: 5.1.1"), "Status: 5.1.1"),
        (parts(PLAIN, "Content-Type: text/csv\n\nitem,qty\nbolt,7"), "item: bolt\nqty: 7"),
        (parts(PLAIN, 'Content-Type: text/plain; name="a.md"\n\n# Head'), "# Head"),
        ("Subject: x\nContent-Type: text/plain; format=flowed\n\nsoft \nbroken\n> quoted \n> too\n-- \nme", "soft broken\n> quoted too\n--\nme"),
        ("Subject: x\nContent-Type: text/plain; format=flowed; delsp=yes\n\n日本 \n語", "日本語"),
    ],
)  # fmt: skip
def test_the_parts_of_a_mail(mail: str, expected: str) -> None:
    assert text(mail, "a.eml").endswith(expected)


def test_fields_of_a_mail_in_another_charset_than_its_rules_allow() -> None:
    assert text("Subject: Fähre nach Køge\n\nw".encode("latin-1"), "a.eml") == "Subject: Fähre nach Køge\n\nw"


def test_an_attachment_is_known_by_its_type_where_its_name_has_no_ending() -> None:
    content = base64.encodebytes(pdf_bytes("Words of the page")).decode()
    mail = parts(PLAIN, f'Content-Type: application/pdf; name="scan"\nContent-Transfer-Encoding: base64\n\n{content}')
    assert (
        reading(mail, "a.eml").documents[-1].metadata | {"page": 1, "attachment": "scan"}
        == reading(mail, "a.eml").documents[-1].metadata
    )


def test_a_mail_that_is_encrypted_says_so() -> None:
    block = (
        "-----BEGIN PGP MESSAGE-----\n\n" + base64.encodebytes(bytes(range(256))).decode() + "-----END PGP MESSAGE-----"
    )
    mail = parts(
        "Content-Type: application/pgp-encrypted\n\nVersion: 1",
        f"Content-Type: application/octet-stream; name=encrypted.asc\n\n{block}",
        kind="encrypted",
    )
    found = reading(mail, "a.eml")
    assert (found.omissions, [document.page_content for document in found.documents]) == (
        ["the message is encrypted"],
        ["Subject: x"],
    )


def test_attachments_of_an_outlook_message() -> None:
    def wide(words: str) -> bytes:
        return words.encode("utf-16-le")

    inner = "__substg1.0_3701000D/"
    message = compound_bytes(
        {
            "__properties_version1.0": bytes(32),
            "__substg1.0_0037001F": wide("Plan"),
            "__substg1.0_1000001F": wide("See the list."),
        }
        | {
            f"__attach_version1.0_#00000000/{k}": v
            for k, v in {
                "__substg1.0_3707001F": wide("list.csv"),
                "__substg1.0_37010102": b"item,qty\nbolt,7".ljust(5000, b"\n"),
            }.items()
        }
        | {
            f"__attach_version1.0_#00000001/{k}": v
            for k, v in {
                inner + "__substg1.0_0037001F": wide("Inner"),
                inner + "__substg1.0_1000001F": wide("Inner words."),
            }.items()
        }
        | {
            f"__attach_version1.0_#00000002/{k}": v
            for k, v in {
                "__substg1.0_3707001F": wide("x.bin"),
                "__substg1.0_37010102": bytes(range(1, 9)) * 600,
            }.items()
        }
    )
    found = reading(message, "a.msg")
    assert "See the list." in found.documents[0].page_content
    assert [(d.page_content, d.metadata["attachment"]) for d in found.documents[1:]] == [
        ("item: bolt\nqty: 7", "list.csv"), ("Subject: Inner\n\nInner words.", "message")
    ]  # fmt: skip
    assert found.omissions == ["the attachment x.bin: .bin is not a document: binary file"]


def test_a_web_archive_of_frames() -> None:
    page = parts(
        "Content-Type: text/html\n\n<frameset><frame src=a></frameset>",
        "Content-Type: text/html\n\n<p>In the frame</p>",
        kind="related",
    )
    assert text(page, "a.mht") == "In the frame"


# Characters


NOISE = base64.b64encode(random.Random(1).randbytes(54)).decode()


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("man.txt", "N\bNA\bAM\bME\bE\n_\bf_\bi_\bl_\be", "NAME\nfile"),
        ("page.txt", "page one\x0cpage two\x01", "page one\x0cpage two\x01"),
        ("protein.txt", "MKVLAAGIVGLCAAKRNDE" * 15, "MKVLAAGIVGLCAAKRNDE" * 15),
        ("hex.txt", "key " + random.Random(1).randbytes(300).hex(), "key"),
        ("uu.txt", "Words\nbegin 644 x\n" + ("M" + "$5&9!0WB=_" * 6 + "\n") * 4 + "`\nend\nMore", "Words\n\n\n\n\n\n\n\nMore"),
        ("code.py", "x = (\n" + f'    "{NOISE}"\n' * 4 + ")\nlast()", "x = (\n\n\n\n\n)\nlast()"),
        ("mixed.txt", "Fähre fährt täglich\n".encode() * 3 + "Tür\n".encode("latin-1"), "Fähre fährt täglich\n" * 3 + "Tür"),
        ("le.txt", ("Паром отходит в одиннадцать.\n" * 3).encode("utf-16-le"), "Паром отходит в одиннадцать.\n" * 2 + "Паром отходит в одиннадцать."),
    ],
)  # fmt: skip
def test_characters_that_are_text_and_those_that_are_not(name: str, data: bytes | str, expected: str) -> None:
    assert text(data, name) == expected


# PDF


def test_the_form_of_a_pdf_whose_fields_have_widgets_of_their_own() -> None:
    widget = "<< /Type /Annot /Subtype /Widget /Rect [0 0 9 9] /Parent"
    page = raw_pdf(
        shown("Order"),
        catalog="/AcroForm << /Fields [100 0 R 200 0 R] >>",
        page={0: "/Annots [101 0 R 201 0 R 202 0 R]"},
        objects={
            100: "<< /T (city) /FT /Tx /V (Bergen) /Kids [101 0 R] >>",
            101: f"{widget} 100 0 R >>",
            200: "<< /T (size) /FT /Btn /Ff 32768 /V /Large /Kids [201 0 R 202 0 R] >>",
            201: f"{widget} 200 0 R /AS /Off /AP << /N << /Small 3 0 R /Off 3 0 R >> >> >>",
            202: f"{widget} 200 0 R /AS /Large /AP << /N << /Large 3 0 R /Off 3 0 R >> >> >>",
        },
    )
    assert text(page, "a.pdf") == "Order\ncity: Bergen\nsize: Large"


def test_files_attached_to_a_pdf() -> None:
    names = "/Names << /EmbeddedFiles << /Names [(a.csv) 100 0 R (b.bin) 102 0 R] >> >>"
    objects = {
        100: "<< /Type /Filespec /F (a.csv) /UF (a.csv) /EF << /F 101 0 R >> >>",
        101: "<< /Type /EmbeddedFile /Length 16 >>\nstream\nitem,qty\nbolt,7\n\nendstream",
        102: "<< /Type /Filespec /F (b.bin) /UF (b.bin) /EF << /F 103 0 R >> >>",
        103: "<< /Type /EmbeddedFile /Length 8 >>\nstream\n\x01\x02\x03\x04\x05\x06\x07\x08\nendstream",
    }
    found = reading(raw_pdf(shown("Cover"), catalog=names, objects=objects), "a.pdf")
    assert [(part.page_content, part.metadata.get("attachment")) for part in found.documents] == [
        ("Cover", None), ("item: bolt\nqty: 7", "a.csv")
    ]  # fmt: skip
    assert found.omissions == ["the attachment b.bin: .bin is not a document: binary file"]


def test_a_scanned_page_with_a_number_is_no_page_of_text() -> None:
    picture = "<< /Type /XObject /Subtype /Image /Width 1 /Height 1 /ColorSpace /DeviceGray /BitsPerComponent 8 /Length 1 >>\nstream\nA\nendstream"
    scan = b"q 600 0 0 800 0 0 cm /I Do Q BT /F1 8 Tf 1 0 0 1 290 20 Tm (7) Tj ET"
    resources = "/Resources << /Font << /F1 3 0 R >> /XObject << /I 100 0 R >> >>"
    found = reading(raw_pdf(shown("Words"), scan, page={1: resources}, objects={100: picture}), "a.pdf")
    assert found.omissions == ["page 2: a picture with few words next to it (a scan?)"]


def test_a_hyphen_that_a_word_has_elsewhere_stays_at_the_end_of_a_line() -> None:
    lines = shown("The well-known rule is a well-", "known one on tem-", "perature.")
    assert text(raw_pdf(lines), "a.pdf") == "The well-known rule is a well-known one on temperature."


def test_words_that_stand_as_far_apart_as_their_letters_are_two() -> None:
    page = b"BT /F1 12 Tf 1 0 0 1 72 700 Tm (out) Tj 1 0 0 1 92.1 700 Tm (the) Tj 1 0 0 1 72 680 Tm (MUST NOT) Tj ET"
    assert text(raw_pdf(page), "a.pdf") == "out the\nMUST NOT"


@pytest.mark.parametrize(
    ("name", "stream", "block"),
    [
        ("a.doc", "WordDocument", b"\xec\xa5" + bytes(9) + b"\x13"),
        ("a.xls", "Workbook", b"\x09\x08\x10\0\0\x06\x05\0" + bytes(12) + b"\x2f\0"),
        ("a.ppt", "PowerPoint Document", b"\xdf\xc4\xd1\xf3"),
        ("a.docx", "EncryptedPackage", b""),
    ],
)
def test_an_old_office_file_that_is_encrypted_says_so(name: str, stream: str, block: bytes) -> None:
    data = (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
        + bytes(504)
        + block.ljust(512, b"\0")
        + stream.encode("utf-16-le")
        + bytes(600)
    )
    with pytest.raises(DocumentLoadError, match="the document is encrypted"):
        reading(data, name)


def test_every_chunk_of_a_long_table_of_a_pdf_has_the_names_of_its_columns() -> None:
    rows = [
        ("Item", "Quantity", "Place"),
        *((f"Part {n:03d} of the list", str(7 * n), f"hall {n % 4}" if n % 5 else "") for n in range(1, 91)),
    ]
    buffer = io.BytesIO()
    canvas = Canvas(buffer)
    for first in range(0, len(rows), 40):
        canvas.drawString(72, 780, "The stock is counted each spring.")
        for number, row in enumerate(rows[first : first + 40]):
            for x, cell in zip((72, 272, 372), row, strict=True):
                canvas.drawString(x, 740 - 14 * number, cell)
        canvas.showPage()
    canvas.save()
    chunks = split(reading(buffer.getvalue(), "a.pdf").documents, 800, 100)
    assert len(chunks) > 4
    assert all("Item | Quantity | Place\nPart" in chunk.page_content for chunk in chunks)
    found = "\n".join(chunk.page_content for chunk in chunks)
    assert found.endswith("Part 090 of the list | 630 |")
    assert "Part 089 of the list | 623 | hall 1" in found


def test_words_in_two_columns_and_code_are_no_table() -> None:
    lines = [
        ("The left side says", "and the right one"),
        ("that it goes on", "does the same too"),
        ("until it ends", "where it ends"),
    ] * 2
    columns = b" ".join(
        f"1 0 0 1 {x} {700 - 14 * n} Tm ({words}) Tj".encode()
        for n, row in enumerate(lines)
        for x, words in zip((72, 320), row, strict=True)
    )
    assert " | " not in text(raw_pdf(b"BT /F1 12 Tf " + columns + b" ET"), "a.pdf")


# Tables, JSON, notebooks


def test_quotes_of_two_rows_do_not_swallow_what_is_between_them() -> None:
    found = reading('size\tname\n"5\tpipe\n7\tbolt\n"9\trod\n11\tnut\n', "a.tsv")
    assert [document.page_content for document in found.documents] == [
        "size: 5\nname: pipe", "size: 7\nname: bolt", "size: 9\nname: rod", "size: 11\nname: nut"
    ]  # fmt: skip
    assert "line 2" in found.omissions[0]


def test_cells_of_many_lines_stay_whole() -> None:
    found = reading('name,note\nbolt,"one, two\nthree, four"\nnut,"says ""hi"""\n', "a.csv")
    assert [document.page_content for document in found.documents] == [
        "name: bolt\nnote: one, two\nthree, four", 'name: nut\nnote: says "hi"'
    ]  # fmt: skip
    assert not found.omissions


def test_dialects_of_json() -> None:
    assert text(
        "{name: 'it\\'s \"so\"', // no\n hex: 0xFF, half: .5, list: [1, 2,], on: True, 'a b': +1, /* c */ url: \"http://x\"}",
        "a.json5",
    ) == ('name: it\'s "so"\nhex: 0xFF\nhalf: .5\nlist: 1, 2\non: True\na b: +1\nurl: http://x')


def test_json_that_is_cut_off_or_broken_is_read_up_to_there() -> None:
    found = reading('{"kept": 1, "rows": [{"name": "first"}, {"name": "second", "tags": ["a"]}, {"na', "a.json")
    assert [document.page_content for document in found.documents] == [
        "kept: 1", "rows[0].name: first\nrows[1].name: second\nrows[1].tags: a"
    ]  # fmt: skip
    assert found.omissions == ["not valid JSON: Unterminated string starting at in line 1; what follows is missing"]


def test_several_values_in_one_json_file_and_one_value_in_json_lines() -> None:
    found = reading('{\n "a": "one"\n}\n{\n "a": "two"\n}\n', "a.json")
    assert [(d.page_content, d.metadata["start_line"], d.metadata["end_line"]) for d in found.documents] == [
        ("a: one", 1, 3),
        ("a: two", 4, 6),
    ]
    assert text('[\n{"a": "one"},\n{"a": "two"}\n]', "a.jsonl") == "a: one\n\na: two"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"text/plain": "<IPython.core.display.Markdown object>", "text/markdown": ["The **answer**\n", "is 42"]}, "f()\n\nThe **answer**\nis 42"),
        ({"text/plain": "<Styler at 0x1>", "text/html": "<table><tr><td>bolt</td></tr></table>"}, "f()\n\nbolt"),
        ({"text/plain": "<Math object>", "text/latex": "$x^2$"}, "f()\n\n$x^2$"),
        ({"text/plain": "   item\n0  bolt", "text/html": "<table></table>"}, "f()\n\n   item\n0  bolt"),
        ({"text/plain": "<Figure size 1x1>", "image/png": "iVBOR"}, "f()"),
    ],
)  # fmt: skip
def test_results_of_a_notebook(data: dict[str, str], expected: str) -> None:
    cell = {"cell_type": "code", "source": "f()", "outputs": [{"output_type": "display_data", "data": data}]}
    assert text(json.dumps({"cells": [cell], "nbformat": 4}), "a.ipynb") == expected


# Text with marks


def test_comments_in_the_lines_of_markdown() -> None:
    source = "# Head <!-- omit -->\n\nPara <!-- secret\nstill --> on `<!-- code -->`.\n\n- item <!-- no -->\n\n  <!-- no -->\n\n```\n<!-- kept -->\n```"
    assert text(source, "a.md") == "# Head \n\nPara \n on `<!-- code -->`.\n\n- item \n\n  \n\n```\n<!-- kept -->\n```"


def test_latex_as_it_prints() -> None:
    source = r"""\begin{document}
\section{Start}
\begin{comment}
secret
\end{comment}
\iffalse hidden \fi
Run \verb|a % b| now, {\bf bold \emph{x}}\footnote{a note
on two lines}, 50\% \LaTeX{} \ldots\ 3\textsuperscript{rd} 10\,km --- end.
\begin{tabular}{l|r}
\toprule
Item & \multicolumn{2}{c}{Qty} \\
\midrule
Bolt & 7 \\
\end{tabular}
\begin{verbatim}
% kept -- \bf
\end{verbatim}
\end{document}"""
    [document] = reading(source, "a.tex").documents
    assert [line.strip() for line in document.page_content.split("\n") if line.strip()] == [
        "Start", "Run a % b now, bold x (a note", "on two lines), 50% LaTeX … 3rd 10 km — end.", "Item | Qty", "Bolt | 7",
        r"\begin{verbatim}", r"% kept -- \bf", r"\end{verbatim}",
    ]  # fmt: skip
    assert (document.metadata["start_line"], document.page_content.count("\n")) == (2, 16)


RTF = r"""{\rtf1\ansi\ansicpg1251\deff0{\fonttbl{\f0\fcharset204 Arial;}{\f1\fnil\fcharset2 Symbol;}{\f2\fcharset128 Gothic;}}
{\stylesheet{\s0 Normal;}{\s1\outlinelevel0\b heading 1;}}{\info{\title Boiler}{\author No}}{\header Head words\par}{\footer Page \chpgn\par}
\pard\s1 Start\par\pard Seen {\v secret} \'cf\u1072?{\f1 \'b3} {\f2 \'93\'fa} {\deleted gone {\b too}}kept{\footnote A note}.\line 10{\super 6}\~m\par
{\field{\*\fldinst HYPERLINK "https://example.org"}{\fldrslt a link}}{\*\unknown none}{\pict\wmetafile8 0100090000}{\*\annotation{\*\atnid Q}Check it}\par
{\listtext 2.\tab}Second\par
\trowd\trhdr\cellx9\cellx99 \pard\intbl Region\cell City\cell\row
\trowd\clvmgf\cellx9\cellx99 North\cell Alta\par and Bodo\cell\row
\trowd\clvmrg\cellx9\cellx99 \cell Cape\cell\row
\pard After {\upr{ansi}{\*\ud{unicode}}} \lquote x\rquote\emdash  end\par{\shp{\*\shpinst{\sp{\sn a}{\sv b}}{\shptxt Boxed\par}}}\par}"""


def test_rtf() -> None:
    found = reading(RTF, "a.rtf")
    assert [(part.metadata["title"], part.metadata.get("heading"), part.page_content) for part in found.documents] == [
        ("Boiler", "Start", "Start\nSeen  Па≥ 日 kept.\n10^6 m\na link\n2.\tSecond\nRegion | City\nNorth | Alta and Bodo\nNorth | Cape\n"
         "After unicode ‘x’— end\nBoxed"),
        ("Boiler", None, "A note"),
        ("Boiler", None, "Comment: Check it"),
        ("Boiler", None, "Head words"),
    ]  # fmt: skip
    assert reading(RTF[: RTF.index("\\trowd")], "a.rtf").omissions == ["the file is cut off: what follows is missing"]


@pytest.mark.parametrize(
    ("name", "source", "expected"),
    [
        ("a.srt", "1\n00:00:01,000 --> 00:00:02,000\none\n\ntwo\n\n2\n00:00:03,000 --> 00:00:04,000\nthree\n", "one two three"),
        ("a.vtt", "WEBVTT\n\nNOTE no\nmore\n\nid1\n00:01.000 --> 00:02.000\n<v Anna>Hello &amp; you</v>\n\nNOTE no\n", "Hello & you"),
        ("a.ass", "[Events]\nFormat: Layer, Start, End, Style, Text\nDialogue: 0,0:00:01.00,0:00:02.00,D,{\\i1}One, two{\\i0}\\Nthree\n", "One, two three"),
    ],
)  # fmt: skip
def test_what_subtitles_say(name: str, source: str, expected: str) -> None:
    assert text(source, name) == expected


@pytest.mark.parametrize(("name", "source"), [("a.txt", "+" * 300_000), ("a.md", "<!-- " * 100_000)])
def test_marks_that_never_end_are_read_in_time_that_grows_with_their_number(name: str, source: str) -> None:
    assert text(source, name)[:20].strip() == source[:20].strip()  # each took minutes, its square
