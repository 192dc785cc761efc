"""What a batch system is (:mod:`.base`), which there are (:mod:`.registry`), and a folder for each.

Pure: commands and scripts come out as text, answers go in as text. No part runs a command, or reads a clock or
a file. Other rooms import the protocol and the registry, and never a system's folder.
"""
