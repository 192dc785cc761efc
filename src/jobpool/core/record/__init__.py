"""What has happened in a pool, and how it is now, as plain data. Pure."""
