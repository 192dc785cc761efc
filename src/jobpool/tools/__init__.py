"""What answers without a pool of the user's: check, explain, measure, doctor.

The executor, the command line and the package's face may import it. A tool that needs a pool is handed its maker.
"""
