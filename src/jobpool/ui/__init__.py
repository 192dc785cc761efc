"""What people see: tables, progress, the command line."""
