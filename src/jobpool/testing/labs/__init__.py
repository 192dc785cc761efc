"""Practice batch systems: real daemons on the loopback address, for one user, that end with their owner."""
