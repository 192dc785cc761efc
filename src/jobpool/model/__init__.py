"""The vocabulary of all rooms: requests, calls, jobs and their endings, limits of a site, units, errors.

Every room may import this one; it imports nothing of the package, and acts on nothing.
"""
