"""German questions whose verb stands in two parts: for the search and for the answer. Pure.

"Wie lade ich ein Paket hoch?" has no word that a text on "hochladen" has.
"""

from __future__ import annotations

import re

_PREFIX = (
    "ab an auf aus bei bereit durch ein entgegen fern fest fort frei gegenüber her heraus herunter hin hinzu hoch los "
    "mit nach nieder runter statt teil um vor voraus vorbei weg weiter wieder zu zurück zurecht zusammen"
)
_NO_FULL_VERB = (
    "ist sind war waren bin bist wird werden wurde wurden hat habe haben hatte kann können könnte muss müssen müsste "
    "soll sollen sollte darf dürfen dürfte will wollen möchte mag gibt"
)
_IN_TWO_PARTS = re.compile(
    r"(?P<before>^\W*(?:und |aber |also )?(?:(?:wie|wo|wann|warum|weshalb|womit|wodurch|wofür|was|wer|wen|wem|worauf"
    r"|woran|welche[rnms]?(?: \w+){0,2}) )?)"
    rf"(?!(?:{'|'.join(_NO_FULL_VERB.split())})\b)(?P<verb>[a-zäöüß]{{3,}}) "
    r"(?P<rest>(?:ich|man|wir|du|sie|er|es|der|die|das|den|dem|ein|eine[nmr]?|meine?[nmr]?|Sie)\b[^.?!]*?) "
    rf"(?P<prefix>{'|'.join(_PREFIX.split())})(?P<end>\W*)$",
    re.IGNORECASE,
)


def with_whole_verb(question: str) -> str:
    """Return a question with its verb in one word: ``"Wie lade ich es hoch?"`` -> ``"Wie hochlade ich es?"``.

    A question whose verb is in one word stays as it is.
    """
    found = _IN_TWO_PARTS.match(question)
    if found is None:
        return question
    verb = found["prefix"].lower() + found["verb"].lower()
    return f"{found['before']}{verb} {found['rest']}{found['end']}"
