"""What a tool's definition and a model's arguments make: a request, or a sentence on why there is none; pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import attrs
import msgspec

from invorto.errors import Fault, Invalid
from invorto.model.agent import ToolDefinition
from invorto.outgoing.addresses import AddressRules, check_url
from invorto.tools.schemas import schema_faults

PLACE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]{0,63})\}")
SECRET = re.compile(r"\$\{secrets\.([A-Za-z0-9_.-]{1,64})\}")
BUILT_IN = frozenset({"end_call", "transfer_call", "send_dtmf", "voicemail_message"})
"""Tools of our own: nobody else's is called like one of these."""
_WITHOUT_BODY = frozenset({"GET", "DELETE"})


class ToolFailed(Exception):
    """A tool gave no answer; the text is for the model, *status* is of HTTP where there was an answer."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


@attrs.frozen(kw_only=True)
class Request:
    """A request that is ready to be made."""

    method: str
    url: str
    headers: Mapping[str, str] = attrs.field(repr=False)
    """With secrets."""
    content: bytes = b""


def request_of(
    tool: ToolDefinition, args: Mapping[str, Any], secrets: Mapping[str, str], *, key: str | None = None
) -> Request:
    """
    Make the request: ``{placeholders}`` of the URL take arguments, the others go into the body, else the query.

    *key* is sent as ``Idempotency-Key``. `ToolFailed` where an argument or a secret is missing.
    """
    rest = dict(args)

    def put(found: re.Match[str]) -> str:
        if found[1] not in args:
            raise ToolFailed(f"the argument {found[1]} is missing")
        rest.pop(found[1], None)
        return quote(_word(args[found[1]]), safe="")

    url = PLACE.sub(put, tool.url or "")
    headers = {name: _filled(value, secrets) for name, value in tool.headers.items()}
    headers.setdefault("Accept", "application/json")
    if key is not None:
        headers["Idempotency-Key"] = key
    if tool.method in _WITHOUT_BODY:
        if rest:
            url += ("&" if urlsplit(url).query else "?") + urlencode({name: _word(rest[name]) for name in rest})
        return Request(method=tool.method, url=url, headers=headers)
    headers["Content-Type"] = "application/json"
    return Request(method=tool.method, url=url, headers=headers, content=msgspec.json.encode(rest))


def turn_key(call_id: str, turn: int, name: str, args: Mapping[str, Any]) -> str:
    """Give the idempotency key of a tool that is called with the same arguments in the same turn."""
    digest = hashlib.sha256(msgspec.json.encode(args, order="deterministic")).hexdigest()[:16]
    return f"{call_id}-{turn}-{name}-{digest}"


def allowed_host(host: str, hosts: Collection[str]) -> bool:
    """Tell whether a host is on a tenant's list: ``*.example.com`` is all below it."""
    return any(host == one.lower() or (one.startswith("*.") and host.endswith(one[1:].lower())) for one in hosts)


def definition_faults(tool: ToolDefinition) -> list[Fault]:
    """Say what is wrong with a definition, wherever it may go."""
    faults = [Fault(f"$.inputSchema{fault.path[1:]}", fault.message) for fault in schema_faults(tool.input_schema)]
    faults += [
        Fault(f"$.outputSchema{fault.path[1:]}", fault.message) for fault in schema_faults(tool.output_schema or {})
    ]
    if tool.name in BUILT_IN:
        faults.append(Fault("$.name", "is a built-in tool's"))
    if tool.url is not None:
        known = tool.input_schema.get("properties")
        for name in PLACE.findall(tool.url):
            if isinstance(known, Mapping) and name not in known:
                faults.append(Fault("$.url", f"{{{name}}} is no property of inputSchema"))
    elif tool.type == "mcp":
        faults.append(Fault("$.url", "required field missing"))
    return faults


def tool_faults(tool: ToolDefinition, rules: AddressRules, hosts: Collection[str]) -> list[Fault]:
    """Say what is wrong with a definition before it is kept; names are not resolved."""
    sentences = url_faults(tool.url, rules, hosts) if tool.url is not None else []
    return definition_faults(tool) + [Fault("$.url", sentence) for sentence in sentences]


def url_faults(url: str, rules: AddressRules, hosts: Collection[str]) -> list[str]:
    """Say why a tool may not go to a URL."""
    authority = url.partition("://")[2].partition("/")[0].partition("?")[0]
    if PLACE.search(authority):
        return ["a host has no placeholders"]
    try:
        target = check_url(PLACE.sub("x", url), rules)
    except Invalid as error:
        return [str(error)]
    return [] if allowed_host(target.host, hosts) else [f"{target.host} is not one of the tenant's toolHosts"]


def _word(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _filled(text: str, secrets: Mapping[str, str]) -> str:
    def put(found: re.Match[str]) -> str:
        if found[1] not in secrets:
            raise ToolFailed("it is not set up: a secret is missing")
        return secrets[found[1]]

    return SECRET.sub(put, text)
