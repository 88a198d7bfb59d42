"""Patterns that begin a block of text and show its kind: Markdown, reStructuredText, MkDocs, logs and programs."""

from __future__ import annotations

import re

HEADING = re.compile(r"#{1,6}\s+(.+?)\s*#*$")
ADORNMENT = re.compile(r"([=\-~^\"'`+*#.:_])\1{2,}$")
FENCE = re.compile(r"(`{3,}|~{3,}|:{3,})\s*(.*)$")
ITEM = re.compile(r"([-*+•–◦‣]|\d{1,3}[.)]|#\.|\(?[a-z]\))\s+(?=\S)")
OPTION = re.compile(r"(-{1,2}\w[\w-]*(?:(?:, |[ =/|])[-<\[A-Z][^\s,=/|]*)*)(?:\s{2,}(\S.*))?$")
DIRECTIVE = re.compile(r"\.\.\s+(?:\|[^|]+\|\s+)?([\w:+-]+)::\s*(.*)$")
EXPLICIT = re.compile(r"\.\.(?:\s|$)")
RST_OPTION = re.compile(r":[\w -]+:(?:\s|$)")
FIELD = re.compile(
    r":(?:(?:param|parameter|arg|type|raises?|returns?|rtype|keyword|var|ivar)\b\s?)?([^:`\n]*):\s+(\S.*)$"
)
SKIPPED_LINE = re.compile(
    r"\[[^\]^]+\]:\s*\S+.*$|\([\w.:-]+\)=$|<!--.*-->$|\[!\w+\]$|\{[.#:][^{}]*\}$|</?\w+[^<>]*>$|\{[%{].*[%}]\}$"
    r"|\[TOC\]$|__ \S+$"
    r"|(?:\.\.\s*)?_[\w .-]+:(?:\s+\S+)?$|[a-z-]+::$"
)
PIPE_RULE = re.compile(r"\|?[\s:|-]*-{2,}[\s:|-]*\|?$")
SIMPLE_RULE = re.compile(r"=+(?:\s+=+)+$")
PROMPT = re.compile(
    r"(?:>>>|\.\.\.(?=\s|$)|In ?\[\d*\]:|Out ?\[\d*\]:|[$%❯➜](?=\s)|(?:\(\w+\)\s)?[\w.-]+@[\w.-]+[:~][^\s]*[$#]"
    r"|PS [A-Z]:\\)\s?"
)
SHELL_QUOTE = re.compile(r">\s+(?!\[!)(.*)$")
LOG = re.compile(
    r"\[?\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d|\[?\d\d:\d\d:\d\d[\].,\s]|\[?(?:INFO|WARN|WARNING|ERROR|DEBUG|TRACE"
    r"|FATAL)\]?\s*[:|\[]"
    r"|[A-Z][a-z]{2} +\d{1,2} \d\d:\d\d:\d\d |Traceback \(most|File \"[^\"]+\", line \d"
)
CODE_LINE = re.compile(
    r"\s*(?://.*|[\w.\"'-]+ = \S.*|\[\[?[\w.\"'<>*-]+\]\]?|#\s?\S.*|[\])}]+[,;]?|\.\.\.|.*[;{}]"
    r"|(?:use|fn|pub|let|mod|impl|import|from|def|class|return|const|var)\s.*[;{:(])\s*$"
)
"""A line of a program or of a configuration file that is not marked as code, as in the text of a web page."""
SYNOPSIS = re.compile(r"[\w.-]+(?: [\w.-]+)* \[(?:-|<|--|\().*\[|[\w.-]+(?: [\w-]+)+ \[-")
"""How a command is called: ``git blame [-c] [-b] <file>``."""
CODE_FENCE = re.compile(r"(?:`{3,}|~{3,})(.*)$")
RECORD = re.compile(r"[^\s:#>|`-][^:\n]{0,39}: \S")
PROSE = re.compile(r"[\"'“(«„¿¡]?[^\W\d_]")
PROSE_DIRECTIVES = frozenset(
    """admonition attention caution danger deprecated deprecated-removed epigraph error hint important note pull-quote
    seealso sidebar tip topic versionadded versionchanged versionremoved warning container only glossary
    describe details dropdown tab tabs""".split()  # noqa: SIM905
)
CODE_DIRECTIVES = frozenset(
    [
        "code",
        "code-block",
        "sourcecode",
        "parsed-literal",
        "doctest",
        "ipython",
        "prompt",
        "testcode",
        "productionlist",
        "example",
    ]
)
TABLE_DIRECTIVES = frozenset(["list-table", "csv-table"])
SKIPPED_DIRECTIVES = frozenset(
    """autoclass autofunction automodule automethod contents currentmodule default-domain figure highlight image include
    index literalinclude meta module moduleauthor plot raw role sectionauthor tabularcolumns toctree graphviz
    math mermaid video""".split()  # noqa: SIM905
)
MOST_TERM = 80
ADMONITION = re.compile(r"(?:!!!|\?\?\?)\+?\s+[\w-]+(?:\s+[\w-]+)*\s*(?:\"(.*)\")?$")
TAB = re.compile(r"===[+!]*\s+\"(.+)\"$")
"""Of MkDocs: the indented lines below belong to it."""
INCLUDE = re.compile(r"\s*(?:\{!.*!\}|(?:--|%%|==)8<(?:--|%%|==).*|;?\s*include::.*)\s*$")
"""A line that includes another file, which is not available."""
OPTION_TERM = re.compile(r"-{1,2}\w[\w-]*(?:[ =,|<\[(][^.]*)?")
"""An option on a line by itself, above the paragraphs that describe it."""
TITLE = re.compile(r"(?:\d{1,2}(?:\.\d{1,2}){0,3}\.? +)?[A-ZÀ-ÖØ-ÞА-Я\d][\w'’&,()/ -]{2,58}[\w)]")
"""A short line without the end of a sentence."""
