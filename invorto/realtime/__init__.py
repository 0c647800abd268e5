"""A call from its socket to its record: framing, turns, reply, playout."""
