"""The blocks of a program: the text of its comments and docstrings, and its code."""

from __future__ import annotations

import re
from dataclasses import replace
from textwrap import dedent

from rag_chain.models.local.blocks import Block, blocks

_COMMENT = re.compile(r"\s*(?:#+|//+|--|;+|/\*+|\*+(?!/))\s?(.*?)(?:\*/)?$")
_DOCSTRING = re.compile(r"[rbuf]*(\"\"\"|''')(.*?)\1", re.DOTALL)


def code_blocks(text: str) -> list[Block]:
    """Return the blocks of a program: its docstrings and comments as text, the rest as code."""
    found: list[Block] = []
    start = 0
    for docstring in [*_DOCSTRING.finditer(text), None]:
        code = text[start : docstring.start() if docstring else len(text)]
        for paragraph in re.split(r"\n\s*\n", code):
            lines = [line for line in paragraph.splitlines() if line.strip()]
            comments = [_COMMENT.match(line) for line in lines]
            if lines and all(comments):
                found += blocks("\n".join(comment[1] for comment in comments if comment))
            elif any(character.isalnum() for character in paragraph):
                found.append(Block("code", dedent(paragraph).strip("\n")))
        if docstring:
            first, _, rest = docstring[2].partition("\n")
            found += blocks(f"{first.strip()}\n{dedent(rest)}")
            start = docstring.end()
    return [replace(block, group=place) for place, block in enumerate(found)]
