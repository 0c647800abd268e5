"""Errors as answers: the one place where our families, and what Quart refuses, become a status and a body."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import attrs
import structlog
import trio
from quart import Response
from werkzeug.exceptions import HTTPException

from invorto.api.answers import answer
from invorto.errors import (
    Conflict,
    Forbidden,
    Invalid,
    InvortoError,
    LimitReached,
    NotFound,
    NotSupported,
    PeerError,
    ProviderFailed,
    StoreUnavailable,
    Unauthorized,
    Unavailable,
)

log = structlog.get_logger(__name__)

_MOST_WORDS = 500
"""Characters of a message: what a client sent may be quoted in it."""


@attrs.frozen
class Problem:
    """What a request is answered that cannot be served."""

    status: int
    code: str
    message: str
    details: tuple[Mapping[str, Any], ...] = ()
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])
    more: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    """What else the body tells."""


@attrs.frozen(kw_only=True)
class ProblemDetail:
    """One thing that is wrong with what was sent."""

    path: str
    """A JSON path such as ``$.config.tts``."""
    message: str


@attrs.frozen(kw_only=True)
class ProblemAnswer:
    """Why a request was not served."""

    code: str
    message: str
    request_id: str
    """The request's id, as in the log."""
    details: tuple[ProblemDetail, ...] = ()
    """Everything that is wrong with what was sent, where that is the reason."""

    @classmethod
    def json_schema(cls, schemas: Any, _: str) -> dict[str, Any]:
        """Write its schema: details are there where there are some."""
        schema = schemas.object(cls, "answer")
        return {**schema, "required": ["code", "message", "requestId"]}


class BadRequest(InvortoError):
    """What was sent cannot be read at all."""


class Refused(InvortoError):
    """A request is refused for how it was made: *status* and *code* say why."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


_FAMILIES: Mapping[type[Exception], tuple[int, str]] = {
    BadRequest: (400, "bad_request"),
    PeerError: (400, "bad_request"),
    Forbidden: (403, "forbidden"),
    NotFound: (404, "not_found"),
    NotSupported: (409, "not_supported"),
}

CODES: Mapping[str, int] = {
    "bad_request": 400,
    "invalid_api_key": 401,
    "forbidden": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "payload_too_large": 413,
    "unsupported_media_type": 415,
    "range_not_satisfiable": 416,
    "validation_failed": 422,
    "rate_limit_exceeded": 429,
    "concurrency_limit": 429,
    "quota_exceeded": 429,
    "usage_cap_exceeded": 429,
    "internal_error": 500,
    "store_unavailable": 503,
    "owner_unreachable": 503,
    "provider_unavailable": 503,
    "capacity_unknown": 503,
    "draining": 503,
    "full": 503,
}
"""The status of every code that can be documented; any other code is a conflict's, 409."""

_HTTP: Mapping[int, tuple[str, str]] = {
    400: ("bad_request", "the request cannot be read"),
    404: ("not_found", "there is no such route"),
    405: ("method_not_allowed", "this route does not have this method"),
    408: ("request_timeout", "the request's body did not come in time"),
    413: ("payload_too_large", "the body is larger than 1 MiB"),
    414: ("bad_request", "the URL is too long"),
    415: ("unsupported_media_type", "send application/json"),
    416: ("range_not_satisfiable", "there is nothing in this range"),
    431: ("head_too_large", "the request's head is too large"),
}

_LIMITS: Mapping[str, str] = {
    "rate": "rate_limit_exceeded",
    "quota": "quota_exceeded",
    "usage_cap": "usage_cap_exceeded",
}
"""Scopes of limits that are not about calls at once."""


def problem_of(error: BaseException) -> Problem:
    """Tell what to answer for *error*; everything nobody expected is ``internal_error`` without a word about itself."""
    match error:
        case Invalid():
            details = [{"path": fault.path, "message": fault.message} for fault in error.faults]
            return Problem(
                422, "validation_failed", str(error), tuple(details or [{"path": "$", "message": str(error)}])
            )
        case BadRequest() | PeerError() | Forbidden() | NotFound() | NotSupported():
            status, code = next(told for family, told in _FAMILIES.items() if isinstance(error, family))
            return Problem(status, code, str(error))
        case Refused():
            return Problem(error.status, error.code, str(error))
        case Unauthorized():
            return Problem(401, "invalid_api_key", str(error), headers={"WWW-Authenticate": 'Bearer realm="invorto"'})
        case Conflict():
            return Problem(409, error.code, str(error))
        case LimitReached():
            code = _LIMITS.get(error.scope, "concurrency_limit")
            more = {"scope": error.scope, "limit": error.limit, "held": error.held}
            return Problem(429, code, str(error), headers=_later(error.retry_after), more=more)
        case StoreUnavailable():
            # Its own words name hosts and users.
            return Problem(503, error.code, "a store cannot be reached for now", headers=_later(error.retry_after))
        case Unavailable():
            return Problem(503, error.code, str(error), headers=_later(error.retry_after))
        case ProviderFailed():
            return Problem(503, "provider_unavailable", "an engine cannot be reached for now", headers=_later(2))
        case trio.TooSlowError():
            return Problem(503, "store_unavailable", "this took too long", headers=_later(2))
        case HTTPException(code=int(status)) if status < 500:
            code, message = _HTTP.get(status, ("bad_request", "the request is refused"))
            valid = getattr(error, "valid_methods", None)
            return Problem(status, code, message, headers={"Allow": ", ".join(sorted(valid))} if valid else {})
        case BaseExceptionGroup(exceptions=[one]):
            return problem_of(one)
        case _:
            return Problem(500, "internal_error", "we made a mistake; the log has it under this request's id")


def problem_answer(error: Exception, request_id: str) -> Response:
    """Answer *error*; what nobody expected is logged with the request's id."""
    problem = problem_of(error)
    if problem.code == "internal_error":
        cause = getattr(error, "original_exception", None) or error
        log.error("request_failed", request_id=request_id, exc_info=cause)
    elif problem.status >= 500:
        log.warning("request_refused", request_id=request_id, code=problem.code, error=str(error))
    body: dict[str, Any] = {
        "code": problem.code, "message": problem.message[:_MOST_WORDS], "requestId": request_id, **problem.more,
    }  # fmt: skip
    if problem.details:
        body["details"] = problem.details
    return answer(body, problem.status, problem.headers)


def _later(seconds: float) -> dict[str, str]:
    return {"Retry-After": str(max(1, math.ceil(seconds)))}
