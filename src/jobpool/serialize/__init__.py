"""Pickles functions, arguments and results, by value or by name, and finds the part that cannot be pickled.

Client and workers may import it; the server and the agent never open a user's pickle.
"""
