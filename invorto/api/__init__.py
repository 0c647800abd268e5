"""REST: everything that is asked for over HTTP."""
