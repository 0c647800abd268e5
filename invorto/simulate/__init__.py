"""Whole calls in virtual time, against an agent in a file or on a server: ten minutes of talk in seconds."""
