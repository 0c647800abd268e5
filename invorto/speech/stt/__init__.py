"""Engines that hear what is said."""
