"""Lists: what their queries may say, and the pages they answer."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, cast, get_args, get_origin

import attrs
from quart import Request

from invorto.convert import camel, structure, unstructure
from invorto.errors import Fault, Invalid
from invorto.model.rules import between
from invorto.plain import invalid, step

_WHOLE = re.compile(r"-?[0-9]{1,15}")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


@attrs.frozen(kw_only=True)
class PageQuery:
    """What every list understands."""

    page: int = attrs.field(default=1, validator=between(1, 1_000_000))
    limit: int = attrs.field(default=20, validator=between(1, 100))
    cursor: str | None = None
    """``next`` of the page before, instead of *page*."""


def read_query[T](request: Request, kind: type[T]) -> T:
    """
    Read the query string as a *kind*; parameters with no value count as not given.

    A field that holds several takes a comma list, or its parameter several times; others only once. `Invalid` lists
    every fault, unknown names among them.
    """
    fields = {camel(field.name): field for field in attrs.fields(attrs.resolve_types(cast("Any", kind)))}
    values: dict[str, Any] = {}
    faults: list[Fault] = []
    for name in request.args:
        texts = [text for text in request.args.getlist(name) if text]
        if not texts:
            continue
        type_ = fields[name].type if name in fields else str
        if get_origin(type_) is tuple:
            values[name] = [word for text in texts for word in text.split(",") if word]
        elif len(texts) > 1:
            faults.append(Fault(f"${step(name)}", "is given more than once"))
        else:
            values[name] = _value(texts[0], type_)
    try:
        read = structure(values, kind)
    except Invalid as error:
        faults += error.faults
    else:
        if not faults:
            return read
    raise invalid(faults)


def _value(text: str, kind: Any) -> object:
    kinds = {kind, *get_args(kind)}
    if int in kinds and _WHOLE.fullmatch(text):
        return int(text)
    if datetime in kinds:
        return text.replace(" ", "+")  # an offset's plus sign that nobody escaped
    return text


def end_of(moment: datetime, written: str) -> datetime:
    """Give where the time ends that was *written*: a date alone is the whole day."""
    try:
        return moment + timedelta(days=1) if _DAY.fullmatch(written) else moment
    except OverflowError:
        return moment


def page_of(query: PageQuery) -> tuple[int, int]:
    """Give the page and the limit that are asked for; `Invalid` for a cursor of another list, or of none."""
    if query.cursor is None:
        return query.page, query.limit
    if query.page != 1:
        raise invalid([Fault("$.cursor", "is instead of page: give one of them")])
    try:
        page, limit, digest = json.loads(base64.urlsafe_b64decode(query.cursor.encode()))
        known = (
            digest == _digest(query)
            and type(page) is type(limit) is int
            and 1 < page <= 1_000_000
            and 1 <= limit <= 100
        )
    except (ValueError, TypeError, binascii.Error, RecursionError):
        known, page, limit = False, 1, 1
    if not known:
        raise invalid([Fault("$.cursor", "is not the next of this list, with these filters")])
    return page, limit


@attrs.frozen(kw_only=True)
class Pagination:
    """Where in a list a page is."""

    page: int
    limit: int
    total: int
    pages: int
    next: str | None
    """The cursor of the next page; null: this is the last."""


@attrs.frozen(kw_only=True)
class Page[T]:
    """One page of a list."""

    data: tuple[T, ...]
    pagination: Pagination


def page_answer[T](rows: Iterable[T], total: int, query: PageQuery) -> Page[T]:
    """Answer one page of a list."""
    page, limit = page_of(query)
    pages = -(-total // limit)
    following = json.dumps([page + 1, limit, _digest(query)], separators=(",", ":")).encode()
    cursor = base64.urlsafe_b64encode(following).decode() if page < pages else None
    where = Pagination(page=page, limit=limit, total=total, pages=pages, next=cursor)
    return Page(data=tuple(rows), pagination=where)


def _digest(query: PageQuery) -> str:
    """Tell lists with other filters apart."""
    filters = {name: value for name, value in unstructure(query).items() if name not in {"page", "limit", "cursor"}}
    return hashlib.blake2b(json.dumps(filters, sort_keys=True).encode(), digest_size=6).hexdigest()
