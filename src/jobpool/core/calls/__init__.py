"""Calls that wait and run: their order, which worker gets which, and how many travel in one bundle. Pure."""
