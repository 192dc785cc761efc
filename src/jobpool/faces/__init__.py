"""Other libraries' interfaces on an executor: ``multiprocessing.Pool`` and joblib. The package's face imports them."""
