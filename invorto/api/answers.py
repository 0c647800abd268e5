"""Answers as JSON."""

from __future__ import annotations

from collections.abc import Mapping

from quart import Response
from quart_trio.wrappers import TrioResponse

from invorto.convert import unstructure
from invorto.storage.json_text import json_text


def answer(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Answer frozen classes and plain values as JSON, which nobody on the way may keep."""
    always = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    return TrioResponse(json_text(unstructure(value)), status, {**always, **(headers or {})})
