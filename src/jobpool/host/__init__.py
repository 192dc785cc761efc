"""What each process of the package needs of its computer: directories, logs, processes, users, versions.

Client, server and agent may import it. It knows the vocabulary (:mod:`jobpool.model`) and nothing above it: no pool,
no batch system, no message.
"""
