"""OAR: its commands, its answers, and what it tells people."""
