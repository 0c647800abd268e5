"""Webhooks: what is told to other systems, and how it reaches them."""
