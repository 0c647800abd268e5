"""Engines that hear, think and speak, behind ports."""

import os

# onnxruntime keeps a database in the user's home and reports to its maker unless it is told not to, before it is
# loaded; child processes inherit it.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
