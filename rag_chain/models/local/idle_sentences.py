"""Sentences that answer nothing by themselves: pointers to elsewhere, and sentences about the text. Pure."""

from __future__ import annotations

import re

from rag_chain.models.local.units import Unit

_POINTER = re.compile(
    r"(?:\[ ?\d+\])?\W*(?:please (?:also )?)?(?:see\b|refer to|read (?:the|more|on|about)|visit|check ?out|consult"
    r"|click (?:here|on|the)\b"
    r"|(?:proceed|continue) with (?:the )?(?:section|chapter|next|instructions?)"
    r"|(?:go|skip|jump) to (?:the )?(?:section|chapter|next)"
    r"|for (?:more|further|additional|complete|full|details)"
    r"|for [^.,]{1,80}, (?:see|refer to|visit|check ?out|consult|contact)|learn more|source code:"
    r"|siehe|weitere Informationen|voir |véase|ver también|vedi |zie |см\.|参见|详见|参照"
    r"|请(?:认真|仔细|先)?(?:阅读|参阅|参考|查看|参见)"
    r"|(?:bitte )?lesen Sie (?:auch |dazu |bitte )*(?:das|den|die|unter)\b)"
    r"|[^.,;]{1,60}\b(?:is|are|was|were|has been|have been) (?:also )?(?:described|explained|discussed|documented"
    r"|covered|listed|shown|introduced) (?:in (?:more )?detail )?(?:above|below|here|later|elsewhere|earlier"
    r"|in the (?:next|previous|following|section|chapter))\b",
    re.I,
)
"""A sentence that sends its reader elsewhere."""
_ABOUT_ITSELF = re.compile(
    r"\W*(?:In )?this (?:document|section|chapter|page|guide|manual|article|tutorial|appendix|part|howto|book|file),?"
    r" (?:we |you |also |briefly |then |only )*(?:describes?|presents?|explains?|shows?|covers?|introduces?"
    r"|discuss(?:es)?|gives?|provides?|lists?|outlines?|summari[sz]es?|learn|look at|will|is about|is intended|deals"
    r"|attempts|aims)\b"
    r"|\W*In the examples? (?:below|above)\b"
    r"|\W*As (?:described|explained|mentioned|noted|discussed) (?:above|below|earlier)\W*$"
    r"|\W*(?:Dieses (?:Dokument|Kapitel|Handbuch)|Dieser Abschnitt|Diese Seite) (?:beschreibt|erklärt|zeigt|behandelt"
    r"|gibt|stellt|führt)\b|\W*本(?:文档|文|章|节|手册|页)(?:将|会)?(?:介绍|描述|说明|讲述|解释)",
    re.I,
)
"""A sentence about the text itself, which says nothing of its subject."""


def says_nothing(unit: Unit, words: set[str], terms: set[str]) -> bool:
    """Whether a unit can't answer: it asks, points elsewhere, is cut, or adds no word, unless it introduces a list.

    Args:
        unit: of a source.
        words: its stems.
        terms: stems of the question.
    """
    if unit.is_question or unit.is_fragment or _POINTER.match(unit.text) or _ABOUT_ITSELF.match(unit.text):
        return True
    if unit.kind in ("code", "row"):
        return False
    return not unit.introduces and (len(words) < 2 or words <= terms)
