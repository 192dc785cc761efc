"""The processes that run calls: the fork-server and the workers.

The agent starts them. They know neither server nor client, and no Dask.
"""
