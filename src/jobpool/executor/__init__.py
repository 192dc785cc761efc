"""``JobPoolExecutor``: its methods, its futures, its connection to the server, and the start of the server.

The rooms ``faces`` and ``cli`` may import it. It decides nothing about jobs.
"""
