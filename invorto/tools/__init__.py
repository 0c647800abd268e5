"""Tools that run elsewhere: what they are asked, what of their answers is believed, and how often they may fail."""
