"""Sound as numbers: rates, G.711, levels, resampling, WAV; nothing here waits, logs or looks at a clock."""

import numpy as np
from numpy.typing import NDArray

type Samples = NDArray[np.int16]
"""Mono, 16-bit, at a rate that is known from where it is used."""
