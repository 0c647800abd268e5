"""Invorto for Python."""

from __future__ import annotations

from invorto_sdk.webhooks import WebhookError, WebhookEvent, authenticate, verify

__all__ = ["WebhookError", "WebhookEvent", "authenticate", "verify"]
