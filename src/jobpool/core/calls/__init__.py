"""The calls of a pool and the agents that run them: queues, bundles, and which agent gets which bundle. Pure."""
