"""Errors as HTTP responses in OpenAI's form: ``{"error": {"message", "type", "code", "param"}}``."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from rag_chain import errors

RETRY_SECONDS = "1"
_STATUS: list[tuple[type[errors.RagChainError], int]] = [
    # The first match counts, so subclasses come first.
    (errors.ConfigurationError, 503),
    (errors.UsageError, 400),
    (errors.SessionNotFoundError, 404),
    (errors.SessionExpiredError, 404),
    (errors.TurnNotFoundError, 404),
    (errors.SessionBusyError, 409),
    (errors.BudgetExceededError, 429),
    (errors.HistoryError, 503),
    (errors.DocumentIndexError, 503),
    (errors.ContextTooLongError, 400),
    (errors.ModelTimeoutError, 504),
    (errors.ModelError, 502),
]
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_RETRIED = {409, 429, 503}
log = logging.getLogger(__name__)


class RequestError(Exception):
    """A refused request.

    Args:
        status: of HTTP.
        message: what is wrong, where, and what to do.
        code: for programs, such as ``model_not_found``.
        param: the field that is wrong.
        retry_after: seconds after which the request may be sent again; by default one, if a retry can help.
    """

    def __init__(
        self, status: int, message: str, code: str, param: str | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.param, self.retry_after = status, code, param, retry_after


def describe_error(error: BaseException) -> tuple[int, dict[str, Any]]:
    """Return the status and the body for an error. An unexpected one is logged, and not described in the body."""
    if isinstance(error, RequestError):
        return error.status, _body(error.status, str(error), error.code, error.param)
    if isinstance(error, errors.RagChainError):
        status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
        code = type(error).__name__.removesuffix("Error")
        body = _body(status, str(error), "".join(f"_{c.lower()}" if c.isupper() else c for c in code).lstrip("_"))
        output = error.output if isinstance(error, errors.HistoryError) else None
        if output is not None:
            body["answer"] = str(output.get("answer", ""))  # it could not be stored, but must not be lost
        return status, body
    log.error("A request failed unexpectedly.", exc_info=error)
    return 500, _body(500, "The server failed; its log has the reason.", "internal_error")


def error_response(error: BaseException) -> JSONResponse:
    """Return the response for an error."""
    status, body = describe_error(error)
    seconds = error.retry_after if isinstance(error, RequestError) else None
    return _respond(status, body, seconds)


def add_error_handlers(app: FastAPI) -> None:
    """Return all errors of ``app`` in the same form."""

    async def known(request: Request, error: Exception) -> JSONResponse:
        return error_response(error)

    async def invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - for the type checker
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return _respond(400, _body(400, f"The body is not valid JSON: {first['ctx']['error']}.", "invalid_json"))
        param = ".".join(str(part) for part in first["loc"][1:])
        return _respond(400, _body(400, f"{param or 'body'}: {first['msg']}.", "invalid_value", param or None))

    async def http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)  # noqa: S101 - for the type checker
        messages = {404: f"There is nothing at {request.url.path!a}.", 405: f"{request.method} is not allowed here."}
        message = messages.get(error.status_code, str(error.detail))
        return _respond(error.status_code, _body(error.status_code, message, f"http_{error.status_code}"))

    app.add_exception_handler(RequestError, known)
    app.add_exception_handler(errors.RagChainError, known)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, known)


def _respond(status: int, body: dict[str, Any], retry_after: int | None = None) -> JSONResponse:
    headers = {"Retry-After": str(retry_after or RETRY_SECONDS)} if status in _RETRIED else {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(body, status, headers)


def _body(status: int, message: str, code: str, param: str | None = None) -> dict[str, Any]:
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "code": code, "param": param}}
