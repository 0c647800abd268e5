"""How a route declares itself: its signature is what is read, answered and documented."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Sequence
from functools import partial, wraps
from http import HTTPStatus
from typing import Any, cast, get_type_hints

import attrs
from quart import Blueprint, Response, request
from quart_trio.wrappers import TrioResponse

from invorto.api.answers import answer
from invorto.api.auth import Caller, Gate
from invorto.api.bodies import read_json
from invorto.api.paging import read_query
from invorto.api.repeats import Repeats
from invorto.convert import structure
from invorto.storage.keys import KeyRole
from invorto.storage.rates import RateClass

JSON = "application/json"
type View = Callable[..., Awaitable[object]]


@attrs.frozen(kw_only=True)
class Operation:
    """What one route says of itself."""

    name: str
    tag: str
    summary: str
    description: str = ""
    needs: KeyRole | None = None
    """The least role; None: anybody may ask."""
    query: type[Any] | None = None
    body: Any = None
    reads: Sequence[str] = (JSON,)
    """The kinds of body it takes."""
    gives: Any = None
    """What it answers; None: no content."""
    kinds: Sequence[str] = (JSON,)
    """The kinds of answer; those that are not JSON are text or bytes."""
    status: int = 200
    errors: Sequence[str] = ()
    """Codes of refusals besides those that every route has."""
    secret: bool = False
    """Whether the answer holds something that is shown this once."""
    rate: RateClass | None = None
    """How it is counted against the key's limits; None: by its method."""
    also: Sequence[int] = ()
    """Other good answers of the same shape, such as 206."""


def operation_of(view: object) -> Operation | None:
    """Give what a view says of itself."""
    return getattr(view, "__operation__", None)


class Routes(Blueprint):
    """
    A noun's routes.

    A view takes what it needs by name: ``caller`` (`Caller`), ``query`` and ``body`` (frozen classes, read from the
    query string and from the JSON), and the parts of its path. What it returns is answered as JSON: its return
    annotation documents it. None is 204; a `Response` is sent as it is, and *gives* documents it. A 201 names its
    place where what is answered has an ``id``.
    """

    def __init__(self, name: str, gate: Gate, prefix: str) -> None:
        super().__init__(name, __name__, url_prefix=prefix)
        self.gate = gate
        self.repeats = Repeats(gate.database)

    def get[V: View](self, rule: str, *, needs: KeyRole | None, **declared: Any) -> Callable[[V], V]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Declare a route that reads; *declared* as in `Operation`."""
        return self._declare(rule, "GET", needs, declared)

    def post[V: View](self, rule: str, *, needs: KeyRole | None, **declared: Any) -> Callable[[V], V]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Declare a route that makes or does something."""
        return self._declare(rule, "POST", needs, declared)

    def put[V: View](self, rule: str, *, needs: KeyRole | None, **declared: Any) -> Callable[[V], V]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Declare a route that puts something in its place."""
        return self._declare(rule, "PUT", needs, declared)

    def patch[V: View](self, rule: str, *, needs: KeyRole | None, **declared: Any) -> Callable[[V], V]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Declare a route that changes something."""
        return self._declare(rule, "PATCH", needs, declared)

    def delete[V: View](self, rule: str, *, needs: KeyRole | None, **declared: Any) -> Callable[[V], V]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Declare a route that takes something away."""
        return self._declare(rule, "DELETE", needs, declared)

    def _declare[V: View](
        self, rule: str, method: str, needs: KeyRole | None, declared: dict[str, Any]
    ) -> Callable[[V], V]:
        def take(view: V) -> V:
            operation = declare(view, self.name, method, needs, declared)
            served = self._serve(view, method, operation)
            served.__operation__ = operation  # pyright: ignore[reportFunctionMemberAccess]
            self.add_url_rule(rule, f"{view.__name__}_{method.lower()}", cast("Any", served), methods=[method])
            return view

        return take

    def _serve(self, view: View, method: str, operation: Operation) -> Callable[..., Awaitable[Response]]:
        takes = frozenset(inspect.signature(view).parameters)
        rate: RateClass = operation.rate or ("read" if method == "GET" else "write")
        structured = "body" in takes and attrs.has(operation.body)

        @wraps(view)
        async def served(**names: Any) -> Response:
            if operation.needs is None:
                return await act(names)
            caller = await self.gate.admit(request, operation.needs, names)
            if self.gate.counter is not None:
                await self.gate.counter.take(caller, rate)
            if "caller" in takes:
                names["caller"] = caller
            if method != "POST":
                return await act(names)
            return await self.repeats.answer(request, caller, partial(act, names), secret=operation.secret)

        async def act(names: dict[str, Any]) -> Response:
            if operation.query is not None:
                names["query"] = read_query(request, operation.query)
            if "body" in takes:
                written = await read_json(request)
                names["body"] = structure(written, operation.body) if structured else written
            return respond(await view(**names), operation.status)

        return served


def declare(view: View, tag: str, method: str, needs: KeyRole | None, declared: dict[str, Any]) -> Operation:
    """Read a view's signature and docstring."""
    hints = get_type_hints(view)
    returns = hints.get("return")
    words = inspect.getdoc(view) or re.sub(r"_", " ", view.__name__).capitalize()
    summary, _, description = words.partition("\n")
    names = set(inspect.signature(view).parameters)
    if "caller" in names and (needs is None or hints["caller"] is not Caller):
        raise TypeError(f"{view.__name__}: `caller` is a Caller, and needs a role")
    gives = None if returns in (None, Response, type(None)) else returns
    found: dict[str, Any] = {
        "query": hints.get("query"),
        "body": hints.get("body"),
        "gives": gives,
        "status": 204 if returns in (None, type(None)) else 200,
    }
    operation = Operation(
        name=view.__name__,
        tag=tag,
        summary=summary,
        description=description.strip(),
        needs=needs,
        **(found | declared),
    )
    if method == "GET" and operation.body is not None:
        raise TypeError(f"{view.__name__}: what reads has no body")
    return operation


def respond(made: object, status: int) -> Response:
    """Answer what a view made."""
    if isinstance(made, Response):
        return made
    if made is None:
        return TrioResponse(b"", HTTPStatus.NO_CONTENT)
    place = getattr(made, "id", None) if status == HTTPStatus.CREATED else None
    return answer(made, status, {"Location": f"{request.path.rstrip('/')}/{place}"} if place else None)


def path_names(rule: str) -> list[str]:
    """Give the names that stand in a route's path."""
    return re.findall(r"<(?:[^:<>]+:)?([^<>]+)>", rule)
