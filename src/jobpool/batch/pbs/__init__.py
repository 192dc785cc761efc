"""PBS Pro and OpenPBS: its commands, its answers, and what it tells people."""
