"""Interfaces of other libraries on an executor, ``multiprocessing.Pool`` and joblib. ``jobpool`` imports them."""
