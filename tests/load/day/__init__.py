"""A day like a real one: people, owners and operators together, and afterwards who was told what.

Begin with run.py. habits.py says how people buy (measured from real invoices), wire.py is the driver that
they share, shoppers.py and owners.py what they do over HTTP, staff.py what operators do inside the shop.
journal.py keeps what each of them was told, audit.py holds all of it against the books.

The driver is our own: an asyncio protocol that parses as much of HTTP as the shop speaks. People have to
remember what they were told and act on it, which wrk's scripts cannot; and Locust can, but takes several times
as long over a request as the shop does, on the same two cores (`python -m tests.load.day.wire` measures both
against a server that does nothing: README.md of this directory has the figures).
"""
