"""jobpool: an Executor whose workers are batch jobs."""
