"""The front page of the desk: what today looks like, and what waits for somebody."""
