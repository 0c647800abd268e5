"""Detectors: who tells speech from everything else."""
