"""Splitting: nothing is lost, positions are right, ids are stable."""

from __future__ import annotations

import hashlib
import re
from itertools import pairwise

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_text_splitters import Language

from rag_chain.ingestion.markup.markdown import markdown_sections, markdown_title
from rag_chain.ingestion.markup.restructured import rst_sections
from rag_chain.ingestion.markup.sections import HeadingPath
from rag_chain.ingestion.spans import cut
from rag_chain.ingestion.splitting import split

_LINES = st.sampled_from(
    ["# One", "## Two", "### Three", "Title", "=====", "-----", "```", "```python", "~~~", "# no heading", "def f():",
     "    return 1", "- item one. And two!", "1. first", "| a | b |", "|---|---|", "> quoted", "", "", "   ", "---",
     "<div>", "[ref]: http://x", "A sentence. Another one? Yes! " * 4, "x" * 230, "日本語の文。もう一つ。" * 9,
     "é\u200d\U0001f600"]
)  # fmt: skip
_TEXTS = st.one_of(st.lists(_LINES, max_size=25).map("\n".join), st.text(max_size=600))
_SIZES = st.tuples(st.integers(20, 300), st.integers(0, 200))
_KINDS = st.sampled_from(
    [{"media_type": "text/markdown"}, {"media_type": "text/x-rst"}, {"media_type": "text/plain"}]
    + [{"media_type": "text/x-source", "language": language} for language in ("python", "toml", "js", "cobol")]
)


_FENCE = re.compile(r"(?:```|~~~)(?:python)?")
"""Each piece of a long block of code begins with the block's fence."""


def _document(text: str, **metadata: object) -> Document:
    return Document(page_content=text, metadata={"source": "a", "title": "a", **metadata})


def _solid(text: str) -> str:
    return "".join(text.split())


def _without_fences(text: str) -> str:
    return re.sub("[`~python]", "", _solid(text))


@settings(max_examples=300, deadline=None)
@given(_TEXTS, _SIZES, _KINDS)
@example("# One\n```python\n# One\n# One", (20, 0), {"media_type": "text/markdown"})
@example("One\n=====\nOne\n=====\n\ntext", (20, 0), {"media_type": "text/x-rst"})
def test_chunks_hold_the_whole_text_in_order(text: str, sizes: tuple[int, int], kind: dict[str, str]) -> None:
    assume("---|" not in text)  # A table's header stands in each of its chunks.
    chunks = split([_document(text, start_line=1, **kind)], sizes[0], 0)
    assert _without_fences("".join(chunk.page_content for chunk in chunks)) == _without_fences(text)


@settings(max_examples=300, deadline=None)
@given(_TEXTS, _SIZES, _KINDS)
def test_chunks_have_their_size_and_their_lines(text: str, sizes: tuple[int, int], kind: dict[str, str]) -> None:
    lines, earlier = text.split("\n"), 1
    for chunk in split([_document(text, start_line=1, **kind)], *sizes):
        content, first, last = chunk.page_content, chunk.metadata["start_line"], chunk.metadata["end_line"]
        assert len(content) <= sizes[0]
        assert content.strip()
        assert earlier <= first <= last <= len(lines)
        earlier = first
        if content not in "\n".join(lines[first - 1 : last]):  # the rest of a long block of code, below its fence
            fence, content = content.split("\n", 1)
            assert _FENCE.fullmatch(fence)
        assert content in "\n".join(lines[first - 1 : last])
        assert content.split("\n")[0] in lines[first - 1]
        assert content.split("\n")[-1] in lines[last - 1]


@settings(max_examples=300, deadline=None)
@given(_TEXTS, _SIZES, st.sampled_from([None, "python", "toml"]))
def test_spans_cover_the_text_and_overlap_within_the_bound(
    text: str, sizes: tuple[int, int], language: str | None
) -> None:
    size, overlap = sizes
    covered = 0
    for start, end in cut(text, size, overlap, language=language):
        assert 0 < end - start <= size
        assert not text[covered:start].strip()
        assert covered - start <= min(overlap, size // 2)
        assert end > covered
        covered = end
    assert not text[covered:].strip()


@settings(max_examples=100, deadline=None)
@given(_TEXTS, _SIZES, _KINDS)
def test_hashes_and_ids_are_stable(text: str, sizes: tuple[int, int], kind: dict[str, str]) -> None:
    document = _document(text, start_line=1, **kind)
    chunks, again = split([document], *sizes), split([document.model_copy(deep=True)], *sizes)
    assert chunks == again
    assert len({chunk.id for chunk in chunks}) == len(chunks)
    for chunk in chunks:
        assert chunk.metadata["content_hash"] == hashlib.sha256(chunk.page_content.encode()).hexdigest()[:32]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=200), max_size=20), _SIZES)
def test_records_are_put_together_and_none_is_lost(records: list[str], sizes: tuple[int, int]) -> None:
    documents = [_document(text, row=row, record="\n\n") for row, text in enumerate(records, 1)]
    chunks = split(documents, *sizes)
    assert _solid("".join(c.page_content for c in chunks)) == _solid("".join(records))
    assert all(len(c.page_content) <= sizes[0] for c in chunks)
    rows = [(c.metadata["row"], c.metadata.get("end_row", c.metadata["row"])) for c in chunks]
    assert all(first <= last for first, last in rows)
    assert all(one[1] <= other[0] for one, other in pairwise(rows))
    assert all("record" not in c.metadata for c in chunks)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([*Language]), st.lists(_LINES, max_size=30).map("\n".join), st.integers(20, 200))
def test_no_language_loses_text(language: Language, text: str, size: int) -> None:
    spans = cut(text, size, 0, language=language.value)
    assert _solid("".join(text[start:end] for start, end in spans)) == _solid(text)


def test_an_edit_elsewhere_leaves_ids() -> None:
    text = "\n\n".join(f"# Heading {i}\n\nWhat is said below heading {i}." for i in range(5))
    kind = {"media_type": "text/markdown", "start_line": 1}
    before = {c.id for c in split([_document(text, **kind)], 100, 10)}
    after = split([_document("# New\n\nWords before all.\n\n" + text, **kind)], 100, 10)
    assert [c.id in before for c in after] == [False, True, True, True, True, True]
    assert after[1].metadata["start_line"] == 5


def test_equal_chunks_of_one_file_have_ids_of_their_own() -> None:
    documents = [_document("the same", page=1), _document("the same", page=2)]
    one, two = split(documents, 100, 0)
    assert one.id != two.id
    assert one.metadata["content_hash"] == two.metadata["content_hash"]


def test_markdown_headings_make_a_path() -> None:
    text = "intro\n\n# A *b* `c`\n\nx\n\n## D [e](http://f)\n\ny\n\nG\n---\n\nz\n\n# H\n\nlast"
    chunks = split([_document(text, media_type="text/markdown", start_line=1)], 800, 100)
    assert [(c.metadata.get("heading"), c.page_content.split("\n")[-1]) for c in chunks] == [
        (None, "intro"), ("A b c", "x"), ("A b c > D e", "y"), ("A b c > G", "z"), ("H", "last"),
    ]  # fmt: skip


def test_a_hash_in_a_code_block_is_no_heading() -> None:
    text = (
        "# Real\n\n```sh\n# not one\n```\n\n    # nor this\n\n~~~\n# nor that\n```\n# still inside\n~~~\n\n"
        "- x\n  # in a list\n"
    )
    assert [s.heading for s in markdown_sections(text)] == [("Real",)]


def test_an_unclosed_fence_runs_to_the_end() -> None:
    assert [s.heading for s in markdown_sections("# Real\n\n```\n# not\n\n# not either")] == [("Real",)]


def test_a_heading_without_text_goes_with_what_follows() -> None:
    sections = markdown_sections("# A\n\n## B\n\ntext\n\n## C\n\n## D\n\nmore\n\n## E")
    assert [s.heading for s in sections] == [("A", "B"), ("A", "D"), ("A", "E")]


def test_a_heading_stays_with_a_paragraph_that_is_too_long() -> None:
    text = "# Heading\n\n" + "Some words of a long paragraph. " * 20
    first = split([_document(text, media_type="text/markdown", start_line=1)], 200, 50)[0]
    assert first.page_content.startswith("# Heading\n\nSome words")
    assert len(first.page_content) > 100


def test_front_matter_is_no_heading_and_gives_the_title() -> None:
    text = '---\ntitle: "The title"\ntags: x\n---\nText.\n\n# Below\n\nMore.'
    assert markdown_title(text) == "The title"
    assert [s.heading for s in markdown_sections(text)] == [(), ("Below",)]
    assert markdown_title("a\n\n## Two\n\n# One *x*\n") == "One x"
    assert markdown_title("no heading") == ""


def test_headings_go_on_over_several_texts() -> None:
    path = HeadingPath()
    markdown_sections("# A\n\nx", path)
    assert [s.heading for s in markdown_sections("y\n\n## B\n\nz", path)] == [("A",), ("A", "B")]


def test_restructured_text_headings() -> None:
    text = (
        "=====\nTitle\n=====\n\nintro\n\nSection\n-------\nbody\n\n  Indented\n  --------\n\nDeeper\n~~~~~~\nx\n\n"
        "====  ====\na     b\n====  ====\n\n.. code::\n\n   Not\n   ===\n\nOther\n-----\ny\n"
    )
    assert [(s.heading, text[s.blocks[0].start :].split("\n")[0]) for s in rst_sections(text)] == [
        (("Title",), "====="),
        (("Title", "Section"), "Section"),
        (("Title", "Section", "Deeper"), "Deeper"),
        (("Title", "Other"), "Other"),
    ]


def test_code_is_cut_between_definitions() -> None:
    functions = [f"def function_{i}():\n    return {i} * {i}" for i in range(6)]
    text = "\n\n\n".join(functions)
    chunks = split([_document(text, media_type="text/x-source", language="python", start_line=1)], 90, 0)
    assert [part for c in chunks for part in c.page_content.split("\n\n\n")] == functions
    assert chunks[1].metadata["start_line"] == text[: text.index(chunks[1].page_content)].count("\n") + 1


def test_code_keeps_its_first_lines_indentation() -> None:
    text = "class A:\n" + "\n".join(f"    def method_{i}(self):\n        return {i}\n" for i in range(8))
    chunks = split([_document(text, media_type="text/x-source", language="python", start_line=1)], 80, 0)
    assert all(c.page_content.startswith("    def ") for c in chunks[1:])


def test_overlap_begins_at_a_sentence() -> None:
    text = " ".join(f"This is sentence number {i}." for i in range(40))
    chunks = split([_document(text, media_type="text/plain", start_line=1)], 200, 60)
    assert len(chunks) > 3
    for one, other in pairwise(chunks):
        assert other.page_content.startswith("This is sentence")
        shared = other.page_content.split(".")[0]
        assert shared in one.page_content


def test_no_chunk_begins_in_the_middle_of_a_wrapped_sentence() -> None:
    sentences = [f"Sentence {n} is wrapped at a width\nthat no sentence of it fits." for n in range(40)]
    chunks = split([_document("\n".join(sentences), media_type="text/x-rst")], 200, 80)
    assert len(chunks) > 10
    assert all(chunk.page_content.startswith("Sentence") for chunk in chunks)


@pytest.mark.parametrize(
    ("lead", "line", "end", "kind"),
    [
        ("It looks like this:\n\n```\n", "run it\n", "```\n", "text/markdown"),
        ("It looks like this::\n\n", "    run it\n", "", "text/x-rst"),
        ("It looks like this:\n\n", "- run it\n", "", "text/markdown"),
    ],
)
def test_what_leads_to_code_or_a_list_stays_with_it(lead: str, line: str, end: str, kind: str) -> None:
    text = f"{'Words go on here. ' * 10}\n\n{lead}{line * 5}{end}"
    first, second = split([_document(text, media_type=kind)], 230, 0)
    assert first.page_content.endswith("on here.")
    assert second.page_content.startswith("It looks like this:")
    assert second.page_content.count("run it") == 5


def test_each_piece_of_a_long_block_of_code_has_its_fence() -> None:
    code = "\n".join(f"line {n} of the program" for n in range(60))
    chunks = split(
        [_document(f"Before it.\n\n```python\n{code}\n```\n\nBehind it.", media_type="text/markdown")], 300, 60
    )
    assert len(chunks) > 4
    assert all("```python\n" in chunk.page_content for chunk in chunks[:-1])
    assert "\n".join(chunk.page_content for chunk in chunks).count("line 30 of") == 1


def test_a_literal_block_is_not_cut_where_it_fits() -> None:
    code = "\n\n".join(f"    line {n}" for n in range(8))
    chunks = split(
        [_document(f"{'Some words. ' * 14}\n\nThus::\n\n{code}\n\nBehind.", media_type="text/x-rst")], 250, 0
    )
    assert [chunk.page_content.count("line ") for chunk in chunks] == [0, 8]


def test_sections_share_no_overlap() -> None:
    text = "# A\n\n" + "alpha " * 100 + "\n\n# B\n\n" + "beta " * 100
    for chunk in split([_document(text, media_type="text/markdown", start_line=1)], 150, 50):
        assert ("alpha" in chunk.page_content) is (chunk.metadata["heading"] == "A")


def test_pages_keep_their_number_and_records_their_range() -> None:
    pages = [_document("one", page=1), _document("two " * 100, page=2)]
    assert [c.metadata["page"] for c in split(pages, 200, 0)] == [1, 2, 2]
    cells = [_document(f"cell {i}", cell=i, record="\n\n", heading="H" if i < 4 else "I") for i in range(1, 6)]
    found = [(c.metadata["cell"], c.metadata["end_cell"], c.metadata["heading"]) for c in split(cells, 100, 0)]
    assert found == [(1, 3, "H"), (4, 5, "I")]


@pytest.mark.parametrize("text", ["", " \n\t\n "])
def test_nothing_gives_no_chunk(text: str) -> None:
    for kind in ("text/plain", "text/markdown", "text/x-rst"):
        assert split([_document(text, media_type=kind, start_line=1)], 100, 10) == []
