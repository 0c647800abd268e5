"""Engines that hear, think and speak, behind ports."""
