"""Interfaces of other libraries on an executor, ``multiprocessing.Pool`` and joblib. ``jobpool`` itself imports them."""
