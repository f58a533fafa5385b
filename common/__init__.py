"""What every command and every writer of files shares: errors, exit codes, files, processes.

Standard library only. The list of modules is closed: helpers of one room live in that room.
"""
