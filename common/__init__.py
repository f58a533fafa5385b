"""What every command and every writer of files shares.

Errors, exit codes, files, processes. Standard library only.
"""
