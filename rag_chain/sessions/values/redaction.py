"""Redaction: personal data and credentials are replaced in what is stored, before it is encrypted.

E-mail addresses are found by the detector of LangChain's ``PIIMiddleware``. Its detector of card numbers knows only
those of 16 digits, and it has none for telephone numbers and keys; for these this module has its own.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from langchain_core.messages import BaseMessage

from rag_chain.errors import ConfigurationError
from rag_chain.sessions.values.codec import NOTE

Redactor = Callable[[str], str]
"""Returns the text to store."""
FAILED = "[REDACTED: the redactor failed]"
log = logging.getLogger("rag_chain.sessions")

_CARD = re.compile(r"(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w-])")
_PHONE = re.compile(
    r"(?<![\w.+-])(?:"
    r"(?:\+|00)[1-9](?:[ ()./-]{0,2}\d){7,13}"  # international
    r"|\(?0\d{1,4}\)?[ ./-](?:[ ./-]?\d){5,9}"  # an area code that begins with 0
    r"|(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}"  # North America
    r")(?![\w-])"
)
_KEY = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|\b(?:sk|pk|rk)[-_](?:[A-Za-z0-9]+[-_])*[A-Za-z0-9]{16,}\b"  # OpenAI, Anthropic, Stripe
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"  # AWS
    r"|\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{22,}|glpat-[\w-]{20,}|hf_[A-Za-z0-9]{30,})"
    r"|\bxox[abeoprs]-[A-Za-z0-9-]{10,}"  # Slack
    r"|\bAIza[\w-]{35}"  # Google
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}"  # a JSON Web Token
    r"|(?i:(?<=api_key=)|(?<=api-key=)|(?<=apikey=)|(?<=password=)|(?<=token=)|(?<=secret=))[^\s&\"',;]{6,}",
    re.DOTALL,
)


def make_redactor(kinds: str) -> Redactor | None:
    """Return the redactor of a setting's text, such as ``email,phone``; ``None``: it names nothing.

    Raises:
        ConfigurationError: it names a kind that is not known.
    """
    names = [name.strip().lower() for name in kinds.split(",") if name.strip()]
    unknown = [name for name in names if name not in _FINDERS]
    if unknown:
        raise ConfigurationError(f"RAG_REDACT: {unknown[0]!a} is none of {', '.join(_FINDERS)}.")
    chosen = [name for name in _FINDERS if name in names]  # a card number may look like a telephone number
    if not chosen:
        return None

    def redact(text: str) -> str:
        for name in chosen:
            for start, end in reversed(list(_FINDERS[name](text))):
                text = f"{text[:start]}[REDACTED_{name.upper()}]{text[end:]}"
        return text

    return redact


def redact_message(message: BaseMessage, redact: Redactor) -> BaseMessage:
    """Return the message with its texts redacted: content, tool calls and providers' own fields.

    The note is unchanged: it holds ids, figures and citations of documents.
    """
    changes: dict[str, Any] = {}
    for name in ("content", "tool_calls", "invalid_tool_calls", "artifact", "additional_kwargs"):
        value = getattr(message, name, None)
        kept = value.get(NOTE) if name == "additional_kwargs" and isinstance(value, dict) else None
        new = _redact_value(value, redact)
        if kept is not None:
            new = {**new, NOTE: kept}
        if new != value:
            changes[name] = new
    return message.model_copy(update=changes) if changes else message


def redact_text(text: str, redact: Redactor) -> str:
    """Return the text to store; ``FAILED`` if the redactor raises."""
    try:
        return str(redact(text))
    except Exception as error:  # noqa: BLE001 - a caller's function may raise anything
        log.error("The redactor failed (%s); a text is stored without its content.", type(error).__name__)
        return FAILED


def _redact_value(value: Any, redact: Redactor) -> Any:
    if isinstance(value, str):
        return redact_text(value, redact)
    if isinstance(value, dict):
        # Ids and types identify a value, and are not text.
        return {
            key: one if key in ("id", "type", "name", "index") else _redact_value(one, redact)
            for key, one in value.items()
        }
    if isinstance(value, list | tuple):
        return [_redact_value(one, redact) for one in value]
    return value


def _find_emails(text: str) -> Iterator[tuple[int, int]]:
    if "@" not in text:
        return
    from langchain.agents.middleware.pii import detect_email

    for match in detect_email(text):
        yield match["start"], match["end"]


def _find_cards(text: str) -> Iterator[tuple[int, int]]:
    return (match.span() for match in _CARD.finditer(text) if _passes_luhn(match.group()))


def _passes_luhn(text: str) -> bool:
    digits = [int(one) for one in reversed(text) if one.isdecimal()]
    doubled = (2 * one - 9 if one > 4 else 2 * one for one in digits[1::2])
    return any(digits) and (sum(digits[::2]) + sum(doubled)) % 10 == 0


def _find(pattern: re.Pattern[str]) -> Callable[[str], Iterable[tuple[int, int]]]:
    return lambda text: (match.span() for match in pattern.finditer(text))


_FINDERS: dict[str, Callable[[str], Iterable[tuple[int, int]]]] = {
    "key": _find(_KEY),
    "email": _find_emails,
    "card": _find_cards,
    "phone": _find(_PHONE),
}
