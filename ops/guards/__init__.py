"""Guards: what must hold for the repository's files, each a function from files to a list of faults."""
