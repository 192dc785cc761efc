"""How functions, arguments and results travel: pickles, by value or by name, and who is to blame when one cannot.

Client and workers may import it; the server and the agent never open a user's pickle.
"""
