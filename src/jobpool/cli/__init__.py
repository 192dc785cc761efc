"""The command ``jobpool``. Nothing imports it."""
