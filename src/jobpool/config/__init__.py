"""What a pool is configured with: files, variables and keywords, and where each value came from.

Client, server and tools may import it. It starts nothing.
"""
