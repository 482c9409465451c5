"""The load bench: `make bench`, `make bench-quick`, or `python -m tests.load --help`."""
