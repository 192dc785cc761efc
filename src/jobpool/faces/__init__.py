"""Interfaces of other libraries on an executor, ``multiprocessing.Pool`` and joblib. The package itself imports them."""
