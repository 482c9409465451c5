"""What is done with stock from a terminal. A command reads its arguments, calls a service and reports."""
