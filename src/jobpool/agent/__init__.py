"""The process of one job that speaks with the server and owns the job's workers (``python -m jobpool.agent``).

Nothing imports it but its own files. It never opens a user's pickle.
"""
