"""Effects: the one process per pool that decides, asks the batch system, and feeds the workers."""
