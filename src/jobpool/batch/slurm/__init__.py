"""SLURM: its scripts, its commands and what they answer. Pure, and imported by the registry alone."""
