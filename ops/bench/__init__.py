"""Benches: one command each, a table, and as the last line one JSON object of named figures."""
