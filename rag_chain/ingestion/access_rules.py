"""Which access tags a file gets: from its front matter, from ``.ragaccess`` files, or from the call.

The first of these that applies decides: the document's own front matter; the nearest ``.ragaccess``, in its folder or
in a parent, with a matching line; the tags of the call. In a ``.ragaccess`` the last matching line counts::

    # pattern as in .gitignore   tags
    *                            staff
    board/                       board audit
    # a dash: open to all
    board/press-*.md             -
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pathspec

from rag_chain.access import read_tags
from rag_chain.errors import DocumentLoadError, UsageError

ACCESS_FILE = ".ragaccess"
OPEN = "-"

_FRONT_MATTER = re.compile(r"\A---[ \t]*\r?\n(.*?)^(?:---|\.\.\.)[ \t]*\r?$", re.DOTALL | re.MULTILINE)
_KEY = re.compile(r"^access[ \t]*:(.*)$", re.MULTILINE)
_ITEM = re.compile(r"[ \t]*-[ \t]+(.*)")
_COMMENT = re.compile(r"(?:^|[ \t])#.*$")


@dataclass(frozen=True, slots=True)
class _Rule:
    """One line of a ``.ragaccess``."""

    pattern: pathspec.GitIgnoreSpec
    tags: tuple[str, ...]


class AccessRules:
    """The ``.ragaccess`` files in the parent folders of the files that are looked up; each is read once."""

    def __init__(self) -> None:
        self._rules: dict[Path, list[_Rule]] = {}

    def tags_of(self, file: Path) -> tuple[str, ...] | None:
        """Return the tags of the line that matches a file; empty: open to all; None: no line matches.

        Args:
            file: absolute.

        Raises:
            UsageError: a ``.ragaccess`` can't be read or is malformed.
        """
        for folder in file.parents:
            if folder not in self._rules:
                self._rules[folder] = _read_rules(folder / ACCESS_FILE)
            for rule in reversed(self._rules[folder]):
                if rule.pattern.match_file(file.relative_to(folder).as_posix()):
                    return rule.tags
        return None


def front_matter_tags(text: str) -> tuple[str, ...] | None:
    """Return the tags in the YAML front matter of a text, a list or one tag; None: it has no key ``access``.

    Raises:
        DocumentLoadError: the key ``access`` holds anything else, so it is unknown who may read the document.
    """
    front = _FRONT_MATTER.match(text)
    found = _KEY.search(front.group(1)) if front else None
    if front is None or found is None:
        return None
    value = _COMMENT.sub("", found.group(1)).strip()
    if value.startswith("[") and value.endswith("]"):
        items = value[1:-1].split(",")
    elif value:
        items = [value]
    else:
        items = []
        for line in front.group(1)[found.end() :].splitlines()[1:]:
            item = _ITEM.fullmatch(line)
            if item is None:
                break
            items.append(_COMMENT.sub("", item.group(1)))
    try:
        tags = read_tags([_unquoted(item.strip()) for item in items], "access in the front matter")
    except UsageError as error:
        raise DocumentLoadError(str(error).rstrip(".")) from error
    if not tags:
        raise DocumentLoadError("access in the front matter names no tag: write a list such as [staff]")
    return tags


def _read_rules(file: Path) -> list[_Rule]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} can't be read, so it is unknown who may read the files below it: {error}.") from error
    rules = []
    for number, line in enumerate(lines, 1):
        pattern, *tags = line.split() or ["#"]
        if pattern.startswith("#"):
            continue
        if not tags:
            raise UsageError(f"{file}, line {number}: write tags after the pattern, or {OPEN} for open to all.")
        given = () if tags == [OPEN] else read_tags(tags, f"{file}, line {number},")
        rules.append(_Rule(pathspec.GitIgnoreSpec.from_lines([pattern]), given))
    return rules


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text
