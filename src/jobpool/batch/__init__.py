"""Pure: one module per batch system, text in, text out."""
