"""Interfaces of other libraries on an executor: ``multiprocessing.Pool`` and joblib. ``jobpool/__init__`` imports them."""
