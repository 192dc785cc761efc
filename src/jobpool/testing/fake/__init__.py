"""A fake cluster: programs that speak as a batch system's commands do, over one queue whose jobs are processes."""
