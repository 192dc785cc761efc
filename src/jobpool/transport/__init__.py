"""How processes of one pool speak: connections, keys, frames, limits of size.

Client, server, agent and worker may import it. It never opens a pickle that names classes, and decides nothing.
"""
