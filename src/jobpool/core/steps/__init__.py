"""The engine: each event in its step, over the whole state of a pool. Pure, and the only face of the core."""
