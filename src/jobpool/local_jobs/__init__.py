"""The processes that stand for a batch system where there is none: they hold jobs, as a cluster's daemons would.

The ``local`` system starts them by command (``python -m jobpool.local_jobs.commands``). Nothing imports this room but
its own files, and it never knows pools or calls.
"""
