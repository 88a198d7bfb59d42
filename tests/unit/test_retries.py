"""Which failures of a model are tried again, after which pauses, and which error each HTTP status becomes."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import BaseMessage
from pydantic import Field

from rag_chain.errors import (
    ContextTooLongError,
    ModelError,
    ModelRefusedError,
    ModelTimeoutError,
    ModelUnavailableError,
)
from rag_chain.models.errors import is_transient, to_model_error
from rag_chain.models.retries import LONGEST_PAUSE, add_retries
from rag_chain.settings import Settings


class StatusError(Exception):
    """An error of a provider's package."""

    def __init__(self, status: int) -> None:
        super().__init__("sk-secret")
        self.status_code = status


@pytest.mark.parametrize(
    ("status", "expected", "transient"),
    [
        (400, ModelRefusedError, False),
        (401, ModelRefusedError, False),
        (402, ModelRefusedError, True),
        (403, ModelRefusedError, False),
        (404, ModelUnavailableError, False),
        (407, ModelRefusedError, False),
        (408, ModelTimeoutError, True),
        (413, ContextTooLongError, False),
        (422, ModelRefusedError, False),
        (429, ModelRefusedError, True),
        (500, ModelUnavailableError, True),
        (502, ModelUnavailableError, True),
        (503, ModelUnavailableError, True),
        (504, ModelTimeoutError, True),
    ],
)
def test_each_status_has_its_error(status: int, expected: type[ModelError], transient: bool) -> None:
    error = to_model_error(StatusError(status), "openai:m")
    assert type(error) is expected
    assert "openai:m" in str(error)
    assert "secret" not in str(error)
    assert is_transient(StatusError(status)) is transient


class Failing(FakeListChatModel):
    """A model whose client has neither a timeout nor retries."""

    responses: list[str] = Field(default_factory=lambda: ["an answer"])
    failures: list[int] = Field(default_factory=list)

    def _generate(self, *args: Any, **kwargs: Any) -> Any:
        if self.failures:
            raise StatusError(self.failures.pop(0))
        return super()._generate(*args, **kwargs)


def call(monkeypatch: pytest.MonkeyPatch, failures: list[int], retries: int) -> tuple[list[float], BaseMessage | None]:
    """The pauses between the tries, and the answer if there was one."""
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    model = Failing(failures=failures)
    retried = add_retries(model, "other", Settings(model_retries=retries, _env_file=None))
    try:
        return pauses, retried.invoke("hi")
    except Exception:  # noqa: BLE001 - which one is another test's subject
        return pauses, None


def test_the_pauses_between_tries_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses, answer = call(monkeypatch, [503] * 5, 5)
    assert answer is not None
    assert len(pauses) == 5
    assert pauses[0] >= 1
    assert all(later > earlier for earlier, later in pairwise(pauses[:3]))
    assert max(pauses) <= LONGEST_PAUSE
    assert len(set(pauses[:4])) == 4, "a part of each is random"


def test_no_more_tries_than_the_setting_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [len(call(monkeypatch, [503] * 9, retries)[0]) for retries in (0, 1, 3)] == [0, 1, 3]
    assert call(monkeypatch, [503] * 2, 1)[1] is None


def test_what_a_retry_can_not_mend_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert call(monkeypatch, [401], 3) == ([], None)
