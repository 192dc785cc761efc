"""What runs in the processes that run calls: fork-server and workers.

The agent starts them. They know neither server nor client, and no Dask.
"""
