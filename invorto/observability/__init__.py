"""What the process tells of itself: logs, metrics, and its pulse."""
