"""Requests that we make: where they may go, and the one client that makes them."""
