"""Messages between the processes of a pool: connections, keys, frames, size limits.

Client, server, agent and worker may import it. It never opens a pickle that names classes, and decides nothing.
"""
