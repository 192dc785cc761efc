"""The record of a run and the snapshot of a pool, as plain data. Pure."""
