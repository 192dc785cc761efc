"""The agent's process: ``python -m jobpool.worker``. Job scripts start it; nobody else needs to."""

from __future__ import annotations

from jobpool.worker.agent import main

if __name__ == "__main__":
    main()
