"""The nouns of the house, frozen, and the table of call states."""
