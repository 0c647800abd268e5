"""Engines that think of what to say."""
