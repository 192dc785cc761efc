"""The engine: handles each event with the whole state of a pool. Pure. Server and simulation import only this room."""
