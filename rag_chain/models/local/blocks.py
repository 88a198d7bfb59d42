"""The blocks of a text of unknown format: Markdown, reStructuredText, plain text, logs, or code.

A chunk is a piece of a file, so its format is not declared, and a block may be cut at either end.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from textwrap import dedent

from rag_chain.models.local.block_lines import end_of_cut_code, indent_of, starts_block, without_options
from rag_chain.models.local.block_marks import (
    ADMONITION,
    ADORNMENT,
    CODE_DIRECTIVES,
    CODE_LINE,
    DIRECTIVE,
    EXPLICIT,
    FENCE,
    FIELD,
    HEADING,
    INCLUDE,
    ITEM,
    LOG,
    MOST_TERM,
    OPTION,
    OPTION_TERM,
    PIPE_RULE,
    PROMPT,
    PROSE,
    PROSE_DIRECTIVES,
    RECORD,
    SIMPLE_RULE,
    SKIPPED_DIRECTIVES,
    SKIPPED_LINE,
    SYNOPSIS,
    TAB,
    TABLE_DIRECTIVES,
    TITLE,
)
from rag_chain.models.local.tables import directive_rows, grid_rows, pipe_rows, row_text, simple_rows


@dataclass(frozen=True, slots=True)
class Block:
    """A part of a text.

    Args:
        kind: ``"heading"``, ``"sentence"`` (a paragraph), ``"item"``, ``"row"`` or ``"code"``.
        text: without the markup of its kind.
        bullet: of an item.
        group: a number shared by the items of a list, the rows of a table and so on.
    """

    kind: str
    text: str
    bullet: str = ""
    group: int = 0


def blocks(text: str) -> list[Block]:
    """Return the blocks of a text, in order."""
    found: list[Block] = []
    group = 0
    lines = dedent(text.expandtabs(4)).splitlines()
    end = end_of_cut_code(lines)
    code = [Block("code", dedent("\n".join(lines[:end])).strip("\n"))] if end else []
    for block in [*code, *_Reader(lines[end + 1 if end else 0 :]).blocks()]:
        # A list continues after code and paragraphs within it only if another item follows.
        if not found or block.kind in ("sentence", "code", "heading") or found[-1].kind != block.kind:
            group += 1
        found.append(replace(block, group=group))
    return found


class _Reader:
    """Reads lines from the first to the last. ``_at`` is the next one."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = [line.rstrip() for line in lines]
        self._at = 0

    def blocks(self) -> Iterator[Block]:
        if self._lines and self._lines[0] == "---" and "---" in self._lines[1:40]:
            self._at = self._lines.index("---", 1) + 1
        leads = False
        while self._at < len(self._lines):
            line = self._lines[self._at]
            if not line.strip():
                self._at += 1
                continue
            made = list(self._next(line, leads))
            leads = bool(made) and made[-1].text.endswith((":", "："))
            yield from made

    def _next(self, line: str, leads: bool) -> Iterator[Block]:
        bare = line.strip()
        if fence := FENCE.match(bare):
            yield from self._fenced(fence[1], fence[2])
        elif ADMONITION.match(bare) or TAB.match(bare):
            yield from self._boxed(indent_of(line), is_tab=bare.startswith("==="))
        elif directive := DIRECTIVE.match(bare):
            yield from self._directive(directive[1], directive[2])
        elif EXPLICIT.match(bare):
            self._at += 1
            self._indented()
        elif SKIPPED_LINE.match(bare):
            self._at += 1
        elif heading := HEADING.match(line):
            self._at += 1
            yield Block("heading", heading[1])
        elif rows := self._table(bare):
            yield from (Block("row", row_text(header, cells)) for header, cells in rows)
        elif ADORNMENT.fullmatch(bare):
            self._at += 1
        elif self._is_underlined(line):
            self._at += 2
            yield Block("heading", bare)
        elif PROMPT.match(bare) or LOG.match(bare) or self._is_synopsis(line) or self._is_bare_code():
            yield Block("code", self._until_blank())
        elif bare.startswith(">"):
            yield from self._quote()
        elif indent_of(line) >= 4 and not self._looks_like_prose():
            yield Block("code", "\n".join(self._indented(indent_of(line))))
        elif option := OPTION.match(bare):
            yield from self._option(option[1], option[2] or "")
        elif (field := FIELD.match(bare)) and bare.startswith(":"):
            self._at += 1
            text = " ".join([field[2], *self._continued(indent_of(line))])
            yield Block("item", f"{field[1]}: {text}" if field[1] else text)
        elif ITEM.match(bare):
            yield from self._item(line)
        else:
            yield from self._paragraph(line)

    def _is_bare_code(self) -> bool:
        """Whether the paragraph is unmarked code: two lines or more, all of which look like code."""
        lines = self._lines[self._at : self._end_of_paragraph()]
        return len(lines) > 1 and all(CODE_LINE.match(line) for line in lines)

    def _is_synopsis(self, line: str) -> bool:
        """Whether a line is the synopsis of a command; with indented text below it, it is a term."""
        return SYNOPSIS.match(line.strip()) is not None and indent_of(self._following()) <= indent_of(line)

    def _fenced(self, mark: str, info: str) -> Iterator[Block]:
        self._at += 1
        start = self._at
        while self._at < len(self._lines) and not self._lines[self._at].strip().startswith(mark):
            self._at += 1
        body = self._lines[start : self._at]
        self._at += 1
        name = info.strip("{} ").split(" ")[0].split("}")[0].strip("{}")
        if mark.startswith(":") or (info.startswith("{") and (name in PROSE_DIRECTIVES or name == "eval-rst")):
            yield from _Reader(without_options(body)).blocks()
        elif not (info.startswith("{") and name in SKIPPED_DIRECTIVES) and not all(
            INCLUDE.match(line) or not line.strip() for line in body
        ):
            yield Block("code", dedent("\n".join(body)).strip("\n"))

    def _boxed(self, indent: int, *, is_tab: bool) -> Iterator[Block]:
        """Yield the indented blocks of a box or a tab of MkDocs. Of tabs with the same content, only the first."""
        self._at += 1
        yield from _Reader(self._indented(indent + 1)).blocks()
        while is_tab and self._at < len(self._lines) and TAB.match(self._lines[self._at].strip()):
            self._at += 1
            self._indented(indent + 1)

    def _directive(self, name: str, argument: str) -> Iterator[Block]:
        self._at += 1
        body = self._indented()
        name = name.rpartition(":")[2]
        if name in SKIPPED_DIRECTIVES:
            return
        content = without_options(body)
        if name in CODE_DIRECTIVES:
            if any(content):
                yield Block("code", dedent("\n".join(content)).strip("\n"))
        elif name in TABLE_DIRECTIVES:
            yield from (Block("row", row_text(header, cells)) for header, cells in directive_rows(name, body))
        elif name.startswith(("version", "deprecated")):
            verb = {"versionadded": "Added", "versionchanged": "Changed", "versionremoved": "Removed"}.get(name)
            version, _, rest = argument.partition(" ")
            change = f"{verb or 'Deprecated'} in version {version}"
            text = " ".join([rest, *(line.strip() for line in content)]).strip()
            yield Block("sentence", f"{change}: {text}" if text else f"{change}.")
        elif name == "rubric":
            yield Block("heading", argument)
        elif name in PROSE_DIRECTIVES:
            lines = [argument, *content] if argument and name not in ("glossary", "only", "container") else content
            yield from _Reader(dedent("\n".join(lines)).splitlines()).blocks()
        else:  # an API entry: its signature is the heading of its text
            if argument and content:
                yield Block("heading", argument)
            yield from _Reader(content).blocks()

    def _table(self, bare: str) -> list[tuple[list[str], list[str]]]:
        following = self._following().strip()
        start = self._at
        if bare.startswith(("+-", "+=")):
            lines = self._while(lambda line: line.startswith(("+", "|")))
            return grid_rows(lines)
        if bare.startswith("|") or ("|" in bare and "-" in following and PIPE_RULE.fullmatch(following)):
            if bare.startswith("| ") and not bare.endswith("|") and "|" not in bare[1:]:
                return []  # a line block of reStructuredText
            lines = self._while(lambda line: "|" in line)
            return pipe_rows(lines)
        if SIMPLE_RULE.fullmatch(bare):
            end = start + 1
            rules = 1
            while end < len(self._lines) and rules < 3:
                line = self._lines[end].strip()
                if SIMPLE_RULE.fullmatch(line):
                    rules += 1
                elif not line and rules == 2 and end > start + 2:
                    break
                end += 1
            if rules >= 2:
                self._at = end
                return simple_rows(self._lines[start:end])
        return []

    def _while(self, holds: Callable[[str], bool]) -> list[str]:
        start = self._at
        while self._at < len(self._lines) and self._lines[self._at].strip() and holds(self._lines[self._at].strip()):
            self._at += 1
        return [line.strip() for line in self._lines[start : self._at]]

    def _is_underlined(self, line: str) -> bool:
        following = self._following().strip()
        return bool(ADORNMENT.fullmatch(following)) and (
            len(following) >= min(len(line.strip()), 4) and not ITEM.match(line.strip())
        )

    def _quote(self) -> Iterator[Block]:
        start = self._at
        while self._at < len(self._lines) and self._lines[self._at].lstrip().startswith(">"):
            self._at += 1
        lines = [re.sub(r"^\s*>\s?", "", line) for line in self._lines[start : self._at]]
        after = self._lines[self._at] if self._at < len(self._lines) else ""
        text = " ".join(lines).strip()
        is_shell = not PROSE.match(text) or (
            all(line and line[0].islower() and not line.endswith((".", "!", "?", ",", ":")) for line in lines)
            and (bool(after.strip()) or len(text.split()) < 3)
        )
        if is_shell and not text.startswith(("[!", "-", "*", "#", "|", "`", ">", "1")):
            self._at = self._end_of_paragraph()
            yield Block("code", "\n".join(self._lines[start : self._at]))
        else:
            yield from _Reader(lines).blocks()

    def _option(self, option: str, text: str) -> Iterator[Block]:
        indent = indent_of(self._lines[self._at])
        self._at += 1
        # "-d" and "--delete" on lines of their own are one term.
        while not text and self._at < len(self._lines) and (other := OPTION.match(self._lines[self._at].strip())):
            option, text = f"{option}, {other[1]}", other[2] or ""
            self._at += 1
        if not text and self._is_long_definition(indent):
            yield from self._definition(option, indent)
            return
        rest = self._continued(indent)
        words = " ".join([text, *rest]).strip()
        yield Block("item", f"{option}: {words}" if words else option)

    def _is_long_definition(self, indent: int) -> bool:
        """Whether the text of a term is indented directly below it, and has more than one paragraph."""
        if self._at == len(self._lines) or indent_of(self._lines[self._at]) <= indent:
            return False
        end = self._end_of_paragraph()
        return end + 1 < len(self._lines) and indent_of(self._lines[end + 1]) > indent

    def _definition(self, term: str, indent: int) -> Iterator[Block]:
        """Yield a term with the first paragraph of its text; the term is the heading of the other paragraphs."""
        first, *others = _Reader(self._indented(indent + 1)).blocks()
        if first.kind == "sentence":
            yield Block("item", f"{term}: {first.text}")
        else:
            others.insert(0, first)
        yield Block("heading", term)
        yield from others
        yield Block("heading", "")

    def _item(self, line: str) -> Iterator[Block]:
        indent = indent_of(line)
        bare = line.strip()
        mark = ITEM.match(bare)
        if mark is None:  # for mypy: the caller has checked the mark
            return
        self._at += 1
        text = " ".join([bare[mark.end() :], *self._continued(indent)])
        bullet = mark[1] if mark[1][-1] in ".)" and mark[1] != "#." else "-"
        yield Block("item", re.sub(r"^\[[ xX]\]\s+", "", text), " " * min(indent, 6) + bullet)

    def _continued(self, indent: int) -> list[str]:
        """Return the lines that continue an item: indented lines, and those directly after it that begin no block."""
        lines: list[str] = []
        while self._at < len(self._lines):
            line = self._lines[self._at]
            bare = line.strip()
            if not bare:
                following = self._following()
                if (
                    indent_of(following) <= indent
                    or not PROSE.match(following.strip())
                    or OPTION.match(following.strip())
                ):
                    break
                if indent_of(following) >= indent + 6 and (lines or [""])[-1].endswith(":"):
                    break
                self._at += 1
                continue
            if starts_block(bare) or (
                indent_of(line) <= indent and (self._lines[self._at - 1] == "" or OPTION.match(bare))
            ):
                break
            lines.append(bare)
            self._at += 1
        return lines

    def _paragraph(self, line: str) -> Iterator[Block]:
        indent = indent_of(line)
        lines = [line.strip()]
        self._at += 1
        while self._at < len(self._lines):
            line = self._lines[self._at]
            bare = line.strip()
            if not bare or starts_block(bare) or self._is_underlined(line):
                break
            if len(lines) == 1 and indent_of(line) >= indent + 2 and self._is_term(lines[0]):
                if self._is_long_definition(indent):
                    yield from self._definition(lines[0], indent)
                    return
                words = " ".join(self._continued(indent))
                yield Block("item", f"{lines[0]}: {words}" if words else lines[0])
                return
            lines.append(bare)
            self._at += 1
        if len(lines) > 1 and all(RECORD.match(each) for each in lines):
            yield Block("row", "; ".join(each.rstrip(";") for each in lines))
            return
        text = " ".join(lines)
        if len(lines) == 1 and self._is_title(text):
            yield Block("heading", text)
            return
        if len(lines) == 1 and len(text) <= MOST_TERM and OPTION_TERM.fullmatch(text):
            yield Block("item", text)
            yield Block("heading", text)  # of the paragraphs below it
            return
        literal = text.endswith("::")
        if literal:
            text = text[:-1] if len(text) > 2 and text[-3] != " " else text[:-2].rstrip()
        if text.strip(": "):
            yield Block("sentence", text)
        if literal:
            body = self._indented()
            if any(body):
                yield Block("code", dedent("\n".join(body)).strip("\n"))

    def _is_title(self, text: str) -> bool:
        """Whether a line by itself is the title of the paragraph below, as in plain text."""
        if not TITLE.fullmatch(text) or self._at + 1 >= len(self._lines) or self._lines[self._at].strip():
            return False
        below = self._lines[self._at + 1].strip()
        return len(below) > len(text) and bool(PROSE.match(below)) and not starts_block(below)

    @staticmethod
    def _is_term(line: str) -> bool:
        return len(line) <= MOST_TERM and not line.endswith((".", "!", "?", ":", ",", "。"))

    def _looks_like_prose(self) -> bool:
        """Whether an indented paragraph consists of sentences."""
        text = " ".join(line.strip() for line in self._lines[self._at : self._end_of_paragraph()])
        if ITEM.match(text):
            return True
        first = text[:1]
        return (
            len(text.split()) >= 5
            and (first.isupper() or not first.isascii())
            and text.endswith((".", "!", "?", ":", "。", "！", "？", ")"))
        )

    def _until_blank(self) -> str:
        start, self._at = self._at, self._end_of_paragraph()
        return dedent("\n".join(self._lines[start : self._at]))

    def _end_of_paragraph(self) -> int:
        """Return the number of the next blank line, or of the end."""
        end = self._at
        while end < len(self._lines) and self._lines[end].strip():
            end += 1
        return end

    def _following(self) -> str:
        """Return the line after the next one; empty at the end."""
        return self._lines[self._at + 1] if self._at + 1 < len(self._lines) else ""

    def _indented(self, least: int = 1) -> list[str]:
        """Return the indented lines from here, including blank ones between them."""
        start = self._at
        while self._at < len(self._lines):
            line = self._lines[self._at]
            if line.strip() and indent_of(line) < least:
                break
            self._at += 1
        return dedent("\n".join(self._lines[start : self._at])).strip("\n").splitlines()
