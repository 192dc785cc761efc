"""``JobPoolExecutor``: its face, its futures, the thread that speaks with the server, and how that is started.

The faces on it and the command line may import it. It decides nothing about jobs.
"""
