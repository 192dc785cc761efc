"""How many jobs, when, and of what size. Pure."""
