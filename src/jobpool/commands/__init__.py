"""The commands of batch systems are run here, and nowhere else.

Server, tools, configuration and command line may import it. It runs what :mod:`jobpool.batch` says, and never reads an
answer.
"""
