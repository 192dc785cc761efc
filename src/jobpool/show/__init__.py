"""Text and pictures, made from data that is handed in: status, reports, explanations, progress.

The command line, the executor and the tools may import it. It asks nobody, and starts nothing.
"""
