"""ONNX models, opened in one way: few threads, and none of them spinning."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def open_model(model: bytes | Path, *, threads: int) -> Any:
    """Open a model for the processor, as an ``InferenceSession``."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # it would take the calls' core
    options.log_severity_level = 3  # files hold initializers that they do not use, and it says so
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
