"""This machine as a batch system: jobs are processes. Pure, and imported by the registry alone."""
