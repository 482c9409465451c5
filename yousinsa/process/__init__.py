"""What a process shares, starts and repeats."""
