"""Facts of a host and of a job against what a pool needs: each finding with the next step. Pure."""
