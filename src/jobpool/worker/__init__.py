"""What runs inside a job: the agent, its worker processes, and the meter."""
