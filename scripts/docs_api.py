"""Generate ``docs/api.md`` from the signatures and docstrings of the public names."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from typing import Any

import rag_chain

BEYOND = [
    "rag_chain.conversation.ConversationChain",
    "rag_chain.retrieval.index.HybridIndex",
    "rag_chain.retrieval.retriever.HistoryAwareRetriever",
    "rag_chain.sessions.RedisChatMessageHistory",
    "rag_chain.sessions.SessionInfo",
    "rag_chain.sessions.SessionPage",
    "rag_chain.sessions.SessionStats",
    "rag_chain.sessions.UsageTotals",
]
"""Classes that the public names return or take."""

ELSEWHERE = {"Settings": "Every setting is on [its own page](configuration.md)."}
_SECTION = re.compile(r"^(Args|Raises|Returns|Yields|Example|Examples):(.*)$")


def api() -> str:
    """The page."""
    lines = [
        "# API",
        "",
        "Import the names of the first part with `from rag_chain import NAME`. They are loaded at their first use, so",
        "importing the package is fast.",
        "",
        "Each method with a leading `a` is the native async version of the one without, with the same arguments and",
        "result.",
    ]
    for name in rag_chain.__all__:
        if name != "RagChainError":
            lines += _entry(name, getattr(rag_chain, name))
    lines += ["", "# Beyond the public names"]
    for path in BEYOND:
        module, _, name = path.rpartition(".")
        lines += _entry(path, getattr(import_module(module), name))
    lines += ["", "# Errors", "", *_errors()]
    return "\n".join(lines).rstrip() + "\n"


def _entry(name: str, thing: Any) -> list[str]:
    lines = ["", f"## {name}", ""]
    if name in ELSEWHERE:
        return [*lines, _first_paragraph(thing), "", ELSEWHERE[name]]
    if inspect.isclass(thing):
        lines += ["```text", f"{thing.__name__}{_signature(thing)}", "```", "", *_doc(thing)]
        for member, method in _methods(thing):
            lines += ["", f"### {member}", ""]
            if isinstance(method, property):
                lines += _doc(method)
            else:
                lines += ["```text", f"{member}{_signature(method)}", "```", "", *_doc(method)]
        return lines
    return [*lines, "```text", f"{name}{_signature(thing)}", "```", "", *_doc(thing)]


def _methods(cls: type) -> list[tuple[str, Any]]:
    """Return the documented methods that a class defines itself; async versions without own docstrings are left out."""
    found = []
    for name, method in vars(cls).items():
        bare = method.__func__ if isinstance(method, classmethod | staticmethod) else method
        if name.startswith("_") or not (inspect.isfunction(bare) or isinstance(bare, property)):
            continue
        if getattr(bare, "__module__", cls.__module__) != cls.__module__:
            continue  # pydantic's own
        twin = name.startswith("a") and name[1:] in vars(cls)
        if bare.__doc__ and not twin and not bare.__doc__.startswith("See "):
            found.append((name, bare))
    return found


def _signature(thing: Any) -> str:
    """Return the arguments with their annotations as written in the code."""
    try:
        signature = inspect.signature(thing)
    except (TypeError, ValueError):
        return ""
    parts, star = [], False
    for one in signature.parameters.values():
        if one.name in ("self", "cls") or one.name.startswith("_"):
            continue
        stars = "*" * (one.kind is one.VAR_POSITIONAL) + "**" * (one.kind is one.VAR_KEYWORD)
        text = stars + one.name
        if one.annotation is not one.empty:
            text += f": {_annotation(one.annotation)}"
        if one.default is not one.empty:
            text += f" = {'...' if hasattr(one.default, '__dataclass_fields__') else _default(one.default)}"
        if one.kind is one.KEYWORD_ONLY and not star:
            parts.append("*")
        star = star or one.kind in (one.KEYWORD_ONLY, one.VAR_POSITIONAL)
        parts.append(text)
    back = signature.return_annotation
    arrow = "" if back in (signature.empty, None, "None") or inspect.isclass(thing) else f" -> {_annotation(back)}"
    line = f"({', '.join(parts)}){arrow}"
    if len(line) <= 96:
        return line
    return "(\n" + "".join(f"    {part},\n" for part in parts) + f"){arrow}"


def _annotation(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _default(value: Any) -> str:
    return "..." if "factory" in repr(value) or " at 0x" in repr(value) else repr(value)


def _first_paragraph(thing: Any) -> str:
    return _marked(" ".join(inspect.cleandoc(thing.__doc__ or "").split("\n\n")[0].split()))


def _doc(thing: Any) -> list[str]:
    """Return a docstring as Markdown: its sections become lists."""
    source = inspect.cleandoc((thing.fget.__doc__ if isinstance(thing, property) else thing.__doc__) or "")
    lines: list[str] = []
    section = False
    for line in source.splitlines():
        heading = _SECTION.match(line)
        if heading:
            section = True
            lines += ["", f"**{heading[1]}:**{_marked(heading[2])}", ""]
        elif section and (entry := re.match(r"^    (\S[^:]*): (.*)$", line)):
            lines.append(f"- `{entry[1]}`: {_marked(entry[2])}")
        elif section and line.startswith("    "):
            lines.append(f"  {_marked(line.strip())}" if lines[-1] else f"- {_marked(line.strip())}")
        else:
            section = section and not line
            lines.append(_marked(line))
    return [line for place, line in enumerate(lines) if line or (place and lines[place - 1])]


def _marked(text: str) -> str:
    return re.sub(r"``(.+?)``", r"`\1`", text)


def _errors() -> list[str]:
    """Return the tree of errors from the docstring of their module."""
    from rag_chain import errors

    return ["```text", inspect.cleandoc(errors.__doc__ or ""), "```"]
