"""HTML and XHTML: one Document per section, from one heading to the next."""

from __future__ import annotations

import re
from html.entities import html5
from typing import Any

from lxml import etree

from rag_chain.errors import DocumentLoadError
from rag_chain.ingestion.encodings import clean, decode
from rag_chain.ingestion.readers.hidden import Styles
from rag_chain.ingestion.readers.mathml import formula
from rag_chain.ingestion.readers.page_text import PageWriter
from rag_chain.ingestion.reading import Reading

_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_UNSEEN = {
    "head", "script", "style", "noscript", "template", "svg", "canvas", "iframe", "object", "del", "s", "strike", "rp",
    "rt", "annotation", "annotation-xml", "audio", "video", "map",
}  # fmt: skip
_LINES = {
    "body", "caption", "center", "dd", "details", "dialog", "div", "dt", "fieldset", "figcaption", "footer", "form",
    "header", "hr", "legend", "li", "main", "nav", "option", "search", "summary", "tbody", "textarea", "tfoot",
    "thead", "tr", "br",
}  # fmt: skip
_PARAGRAPHS = {"address", "article", "aside", "blockquote", "dl", "figure", "ol", "p", "pre", "section", "table", "ul"}
_STAND_ALONE = {"pre", "table"}
_CELLS = {"td", "th"}
_CODE_CLASSES = {
    "code", "codehilite", "example", "highlight", "lisp", "literal-block", "prettyprint", "programlisting", "screen",
    "smallexample", "sourcecode", "synopsis",
}  # fmt: skip
"""Classes by which DocBook, Sphinx, docutils, Texinfo, Pandoc and highlighters mark a ``pre`` that is code."""
_CODE_PREFIXES = ("language-", "lang-", "highlight-", "brush:")
_CODE_BEGIN = re.compile(r"[$#%>] \S|[~/.]?(?:/[\w.-]+)+:$")
"""A prompt, or the name of the file that follows."""
_CODE_LINE = re.compile(
    r"\w ?[=:]?= ?\S|[{}|\\]$|;$|^[$#%>] \S|\s--?\w|\$\w|\w\([^()]*\)$|^[~/.]?(?:/[\w.-]+)+:?$|^</?\w"
)
_CODE_SHARE = 0.4
"""Share of the lines of a ``pre`` without a mark that look like code or commands, from which it is taken for code."""
_CONTENTS_CLASSES = {
    "breadcrumb", "breadcrumbs", "navfooter", "navheader", "table-of-contents", "toc", "toctree-wrapper",
}  # fmt: skip
_FEWEST_LINKS = 3
"""Links of a list that is taken for a table of contents."""
_CONTENTS_TAGS = {"aside", "div", "dl", "ol", "section", "table", "ul"}
_DIGITS = frozenset("+-−0123456789")
_XML_DECLARATION = re.compile(r"\A\s*<\?xml[^>]*\?>")
_NAMED_ENTITY = re.compile(r"&(?!(?:lt|gt|amp|quot|apos);)([A-Za-z][A-Za-z0-9]*;)")
# libxml2 stores no line number above this.
_LAST_KNOWN_LINE = 65535
_MOST_SPANNED = 1000


def read_html(data: bytes) -> Reading:
    """Return the visible text of each section, laid out in lines; ``heading`` is the path of its headings.

    Table rows are lines with `` | `` between the cells, list items begin with ``- ``, definitions are indented below
    their terms, ``pre`` is unchanged, between fences if it is marked as code. ``start_line`` and ``end_line`` are the
    section's lines in the file. Scripts, styles, SVG, deleted and hidden elements have no visible text. Menus and
    tables of contents are left out, unless there is nothing else.
    """
    source = decode(data)
    root = _parsed(source)
    writer = _written(root, source, with_menus=False)
    if not writer.documents:
        writer = _written(root, source, with_menus=True)
    title = " ".join("".join(root.xpath("string((//*[local-name()='title'])[1])")).split()) or writer.title
    for document in writer.documents:
        document.metadata |= {"title": clean(title)} if title else {}
    return Reading(writer.documents)


def _written(root: Any, source: str, *, with_menus: bool) -> PageWriter:
    page = PageWriter()
    styles = Styles(root)
    line = 1
    walker = etree.iterwalk(root, events=("start", "end", "comment", "pi"))
    for event, element in walker:
        if event != "end" and element.sourceline and element.sourceline < _LAST_KNOWN_LINE:
            line = max(line, element.sourceline)
        if event == "start":
            if not isinstance(element.tag, str):  # an entity that the document defines: it is not expanded
                continue
            tag = _local_name(element)
            if tag == "math":
                page.write(formula(element), line)
                line += "".join(element.itertext()).count("\n")
                walker.skip_subtree()
            elif _is_hidden(tag, element, styles) or (not with_menus and _is_menu(tag, element)):
                line += "".join(element.itertext()).count("\n")
                walker.skip_subtree()
            else:
                _open(page, tag, element, line)
                line = page.write(element.text or "", line)
        else:
            if event == "end":
                _close(page, _local_name(element), line)
            elif event == "comment" and element.text:
                line += element.text.count("\n")
            if element is not root and element.tail:
                line = page.write(element.tail, line)
    page.end_section(source.count("\n") + 1)
    return page


def _open(page: PageWriter, tag: str, element: Any, line: int) -> None:
    if tag in _HEADINGS and not page.in_heading:
        page.open_heading(tag, line)
    elif tag in _PARAGRAPHS | _LINES and not page.is_at_item():
        page.end_line(gap=tag in _PARAGRAPHS, always=tag in _STAND_ALONE)
    if tag == "dd":
        page.open_definition()
    elif tag == "pre":
        page.open_verbatim(is_code=_is_code(element))
    elif tag == "table":
        page.open_table()
    elif tag == "tr":
        page.open_row()
    elif tag in _CELLS:
        page.open_cell(_number(element, "rowspan"), _number(element, "colspan"), is_name=tag == "th")
    elif tag == "li":
        page.open_item(line)
    elif tag == "sup" and (element.text or "").strip()[:1] in _DIGITS and page.ends_with_digit():
        page.write("^", line)
    elif tag == "img" and element.get("alt"):
        page.write(f" {element.get('alt')} ", line)


def _close(page: PageWriter, tag: str, line: int) -> None:
    if tag in _CELLS:
        page.close_cell()
    elif tag == "tr":
        page.close_row()
    if page.in_heading and tag == page.in_heading:
        page.close_heading(_HEADINGS[tag])
    elif tag in _PARAGRAPHS | _LINES:
        page.end_line(gap=tag in _PARAGRAPHS, always=tag in _STAND_ALONE)
    if tag == "dd":
        page.close_definition()
    elif tag == "pre":
        page.close_verbatim()
    elif tag == "table":
        page.close_table()


def _is_hidden(tag: str, element: Any, styles: Styles) -> bool:
    return (
        tag in _UNSEEN
        or (tag == "a" and "headerlink" in element.get("class", ""))
        or (tag == "input" and element.get("type") == "hidden")
        or (tag == "dialog" and element.get("open") is None)
        or styles.hides(tag, element)
    )


def _is_menu(tag: str, element: Any) -> bool:
    if tag == "nav" or element.get("role") in ("navigation", "menu", "menubar", "doc-toc"):
        return True
    if tag in ("ol", "ul") and _is_contents(element):
        return True
    # The sentence that leads to such a list would lead to whatever follows it.
    after = element.getnext() if tag == "p" else None
    if after is not None and isinstance(after.tag, str) and _local_name(after) in ("ol", "ul") and _is_contents(after):
        return "".join(element.itertext()).rstrip().endswith(":")
    return tag in _CONTENTS_TAGS and not _CONTENTS_CLASSES.isdisjoint(_classes(element))


def _is_contents(items: Any) -> bool:
    """Whether a list has nothing but links to other places of its page, as a table of contents without a class."""
    links = [link for link in items.iter("{*}a") if link.get("href", "").startswith("#")]
    if len(links) < _FEWEST_LINKS:
        return False
    linked = "".join("".join(link.itertext()) for link in links)
    return sum(map(str.isalpha, "".join(items.itertext()))) == sum(map(str.isalpha, linked))


def _is_code(element: Any) -> bool:
    """Whether a ``pre`` is code: by its class or its parent's, as ``<pre><code>``, or by the signs in its lines."""
    parent = element.getparent()
    around = [] if parent is None else _classes(parent)
    names = [*_classes(element), *around]
    if not _CODE_CLASSES.isdisjoint(names) or any(name.startswith(_CODE_PREFIXES) for name in names):
        return True
    children = [child for child in element if isinstance(child.tag, str)]
    is_whole = len(children) == 1 and not (element.text or "").strip() and not (children[0].tail or "").strip()
    if is_whole and _local_name(children[0]) in ("code", "kbd", "samp"):
        return True
    lines = [line.strip() for line in "".join(element.itertext()).splitlines() if line.strip()]
    signs = sum(_CODE_LINE.search(line) is not None for line in lines)
    return bool(lines) and (_CODE_BEGIN.match(lines[0]) is not None or signs >= _CODE_SHARE * len(lines))


def _classes(element: Any) -> list[str]:
    names: list[str] = element.get("class", "").lower().split()
    return names


def _number(element: Any, name: str) -> int:
    value = element.get(name, "1").strip()
    return min(int(value), _MOST_SPANNED) if value.isdecimal() else 1


def _parsed(text: str) -> Any:
    text = _XML_DECLARATION.sub(lambda found: "\n" * found.group().count("\n"), text)
    # libxml2 expands a file's own entities in attributes, though not in text: without its limits that may take
    # forever.
    huge = "<!ENTITY" not in text
    if "http://www.w3.org/1999/xhtml" in text[:2048]:
        # In XML, <script/> and <div/> are closed; parsed as HTML they would contain everything that follows.
        named = _NAMED_ENTITY.sub(lambda match: html5.get(match.group(1), match.group()), text)
        try:
            return etree.fromstring(
                named.encode(), etree.XMLParser(encoding="utf-8", huge_tree=huge, resolve_entities=False)
            )
        except etree.XMLSyntaxError:
            pass
    parser = etree.HTMLParser(encoding="utf-8", huge_tree=True)
    root = etree.fromstring(text.encode(), parser)
    if any("depth" in error.message for error in parser.error_log.filter_from_fatals()):
        raise DocumentLoadError("its elements are nested too deep")  # the parser drops deeper elements
    return root


def _local_name(element: Any) -> str:
    return str(element.tag).rpartition("}")[2].lower()
