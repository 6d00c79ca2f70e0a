"""Worker processes: runs that a window or a command waits for, and what they publish."""
