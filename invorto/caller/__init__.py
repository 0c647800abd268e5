"""A caller of our own: speaks sound files to a voice socket in real time, hears as a listener would, and shows both."""
