"""This computer's things, for every process of the package: its directories, logs, commands and life.

Client, server and agent may import it. It knows the vocabulary (:mod:`jobpool.model`) and nothing above it: no pool,
no batch system, no message.
"""
