"""Whether Redis and the database agree, and what to do where they do not."""
