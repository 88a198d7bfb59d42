"""The headings of reStructuredText are those that docutils finds."""

from __future__ import annotations

from docutils import nodes  # type: ignore[import-untyped]
from docutils.core import publish_doctree  # type: ignore[import-untyped]
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rag_chain.ingestion.markup.restructured import rst_sections

_WORDS = ["Get", "the", "value", "of", "a", "key", "naïve", "2.0", "漢字"]
_TEXT = st.lists(st.sampled_from(_WORDS), min_size=1, max_size=4).map(" ".join)
_QUIET = {"report_level": 5, "halt_level": 5, "warning_stream": False}
_OPTIONS = {**_QUIET, "doctitle_xform": False, "docinfo_xform": False}


@st.composite
def titles(draw: st.DrawFn) -> str:
    text, mark = draw(_TEXT), draw(st.sampled_from('=-~"^'))
    line = mark * (2 * len(text) + draw(st.integers(0, 3)))
    title = f"{line}\n{text}\n{line}" if draw(st.booleans()) else f"{text}\n{line}"
    return f"{title}\n\nBelow."  # a heading with nothing below is not told apart from the next one


_BLOCKS = st.one_of(
    titles(),
    _TEXT,
    _TEXT.map(lambda text: f"- {text}\n- {text}"),
    _TEXT.map(lambda text: f"{text}::\n\n    {text}\n    {'=' * 20}\n\n    more"),
    _TEXT.map(lambda text: f".. {text}\n   {'-' * 20}"),
    _TEXT.map(lambda text: f".. note::\n\n   {text}"),
    st.just("=====  =====\nA      B\n=====  =====\n1      2\n=====  ====="),
    st.just("+---+---+\n| a | b |\n+---+---+"),
    st.just("----------"),
    _TEXT.map(lambda text: f"term {text}\n  definition"),
)


def of_docutils(text: str) -> list[tuple[int, str]]:
    document = publish_doctree(text, settings_overrides=_OPTIONS)
    # Title levels that skip one, and the like: docutils then leaves the title out.
    assume(not any(message["level"] >= 3 for message in document.findall(nodes.system_message)))
    found = []
    for section in document.findall(nodes.section):
        level, parent = 0, section.parent
        while parent is not None:
            level, parent = level + isinstance(parent, nodes.section), parent.parent
        found.append((level, section[0].astext()))
    return found


@settings(max_examples=150, deadline=None)
@given(st.lists(_BLOCKS, min_size=1, max_size=10))
def test_the_same_headings_as_docutils(blocks: list[str]) -> None:
    text = "\n\n".join(blocks) + "\n"
    paths = [section.heading for section in rst_sections(text) if section.heading]
    assert [(len(path) - 1, path[-1]) for path in paths] == of_docutils(text)
