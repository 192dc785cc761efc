"""The agent's process: ``python -m jobpool.agent``. Job scripts start it; nobody else needs to."""

from __future__ import annotations

from jobpool.agent.agent import main

if __name__ == "__main__":
    main()
