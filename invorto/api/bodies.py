"""A request's body: bounded while it arrives, UTF-8, JSON, and each name in it once."""

from __future__ import annotations

import json
import re
import uuid
from functools import cached_property
from typing import Any, NoReturn, cast

from quart import Request, request
from quart_trio.wrappers import TrioRequest
from quart_trio.wrappers.request import TrioBody
from werkzeug.exceptions import RequestEntityTooLarge

from invorto.api.problems import BadRequest, Refused

MAX_BODY = 1024 * 1024
"""Bytes; uploads have a limit of their own."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


class BoundedBody(TrioBody):
    """A body that stops growing: Quart's own is held against its limit only when all of it is in memory."""

    _taken = 0

    async def put(self, data: bytes) -> None:
        """Take a piece in; beyond the limit it is dropped, and the request is answered at once."""
        self._taken += len(data)
        if self._max_content_length is not None and self._taken > self._max_content_length:
            self._must_raise = RequestEntityTooLarge()
            self._complete.set()
            return
        await super().put(data)


class ApiRequest(TrioRequest):
    """A request with a bounded body and an id."""

    body_class = BoundedBody

    @cached_property
    def id(self) -> str:
        """What the client calls this request, where that can stand in a log; else a new id."""
        named = self.headers.get("X-Request-Id", "")
        return named if _REQUEST_ID.fullmatch(named) else uuid.uuid4().hex


def request_id() -> str:
    """Give the id of the request that is being served."""
    return request.id  # pyright: ignore[reportAttributeAccessIssue] - requests are `ApiRequest`s


async def read_json(asked: Request) -> Any:
    """
    Read the body as JSON.

    `BadRequest` for what cannot be read: not UTF-8, not JSON, a name twice in one object, nested deeper than the
    parser goes. `Refused` (415) for another content type. An empty body is an empty object.
    """
    data = cast("bytes", await asked.get_data(as_text=False))
    if not data:
        return {}
    kind = asked.mimetype
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise Refused(415, "unsupported_media_type", "send application/json")
    if asked.mimetype_params.get("charset", "utf-8").lower() not in {"utf-8", "utf8"}:
        raise Refused(415, "unsupported_media_type", "send UTF-8")
    if asked.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Refused(415, "unsupported_media_type", "send the body as it is, not compressed")
    return parse_json(data)


def parse_json(data: bytes) -> Any:
    """Parse UTF-8 JSON; `BadRequest` says what is wrong with it."""
    try:
        return json.loads(data.decode(), object_pairs_hook=_once, parse_constant=_no_number)
    except UnicodeDecodeError as error:
        raise BadRequest(f"the body is not UTF-8: byte {error.start} cannot be read") from None
    except json.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise BadRequest("the body is nested too deeply") from None
    except ValueError:  # a whole number of more digits than Python will read
        raise BadRequest("the body holds a number that is too long") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise BadRequest(f"the body holds {json.dumps(twice[:64])} twice in one object")
    return made


def _no_number(word: str) -> NoReturn:
    raise BadRequest(f"the body is not JSON: {word} is no number")
