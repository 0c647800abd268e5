"""The page of the voice socket: its document as a table of messages, without a script."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from invorto.realtime.asyncapi import CLOSES

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}"
    "table{border-collapse:collapse;width:100%;margin:1rem 0}"
    "td,th{text-align:left;vertical-align:top;padding:.3rem .6rem;"
    "border-bottom:1px solid #d9dee3}code{background:#f2f4f6;padding:.1rem .3rem;border-radius:3px}"
    "@media(prefers-color-scheme:dark){body{background:#15181c;color:#e6e8ea}code{background:#23282e}td,th{border-color:#333a42}}"
)

_INTRODUCTION = (
    "<p>Connect to <code>/realtime/voice?callId=…&amp;agentId=…</code> with the subprotocols"
    " <code>[&quot;invorto.v1&quot;, KEY]</code>. Text messages are JSON with <code>t</code>; binary is sound.</p>"
)


def page(document: Mapping[str, Any]) -> str:
    """Write the page."""
    parts = [
        "<!doctype html>", '<html lang="en">', '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">', "<title>Invorto voice socket</title>",
        f"<style>{_STYLE}</style>", "<h1>Voice socket</h1>",
        '<p>The same for machines: <a href="/v1/asyncapi.json">AsyncAPI</a>. REST: <a href="/docs">its page</a>.</p>',
        _INTRODUCTION,
        "<h2>Query</h2>", *_table(document["channels"]["voice"]["bindings"]["ws"]["query"]),
    ]  # fmt: skip
    for side, title in (("client", "What a client says"), ("server", "What a client is told")):
        parts.append(f"<h2>{title}</h2>")
        for name, message in document["components"]["messages"].items():
            if name.startswith(f"{side}."):
                schema = document["components"]["schemas"][message["payload"]["$ref"].rpartition("/")[2]]
                parts.append(f"<h3><code>{escape(message['name'])}</code></h3><p>{escape(message['summary'])}</p>")
                parts += _table(schema)
    rows = (
        f"<tr><td>{code}</td><td><code>{reason}</code></td><td>{escape(when)}</td></tr>"
        for code, reason, when in CLOSES
    )
    parts += ["<h2>Closes</h2>", "<table><tr><th>code<th>reason<th>when</tr>", *rows, "</table>", "</html>"]
    return "\n".join(parts)


def _table(schema: Mapping[str, Any]) -> Iterator[str]:
    fields = {name: one for name, one in schema["properties"].items() if name != "t"}
    if not fields:
        return
    yield "<table><tr><th>field<th>type<th></tr>"
    for name, one in fields.items():
        mark = "" if name in schema.get("required", ()) else "?"
        yield (
            f"<tr><td><code>{escape(name)}{mark}</code></td><td>{escape(_kind(one))}</td>"
            f"<td>{escape(str(one.get('description', '')))}</td></tr>"
        )
    yield "</table>"


def _kind(schema: Mapping[str, Any]) -> str:
    """Say what a field may be, in short."""
    if "enum" in schema:
        return " | ".join(str(one) for one in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_kind(one) for one in schema["anyOf"]))
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    return str(schema.get("format") or schema.get("type", "anything"))
