"""Invorto runs voice agents: it answers and places calls, listens, thinks, speaks, and leaves a record behind."""

__version__ = "0.1.0"
