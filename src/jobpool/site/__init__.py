"""A request against the limits of a site: would it be accepted, on which nodes would it fit, and what would it get?

Pure: text of no batch system is read here, no clock, no file. It knows the vocabulary alone.
"""
