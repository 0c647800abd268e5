"""Every number of seconds that bounds something in a call, named for what it bounds."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class Deadlines:
    """Seconds."""

    first_token: float = 10.0
    """Until an engine begins to answer, and between two pieces of its answer."""
    first_audio: float = 8.0
    """Until a sentence begins to sound, and between two pieces of it."""
    begin: float = 5.0
    """For a call's row to be written. Nothing else cuts it short: a row that nobody knows of would live for ever."""
    finish: float = 10.0
    """For the end of a call to be written, whatever else is going on."""
    goodbye: float = 5.0
    """For a line to close."""
    admission: float = 10.0
    """For a socket to be let in: look-ups and the first rows."""
