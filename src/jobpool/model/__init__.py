"""The vocabulary of all rooms: requests, calls, jobs and their endings, limits of a site, units, errors.

Also what users get: the status of a pool, and the record of a run.

Every room may import this one; it imports nothing of the package, and acts on nothing.
"""
