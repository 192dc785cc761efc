"""Decides what happens to a call when it, its worker or its job is lost. Pure."""
