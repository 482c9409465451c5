"""A day like a real one: people, owners and operators together, and afterwards who was told what.

Begin with run.py. habits.py says how people buy (measured from real invoices), wire.py is the driver that
they share, shoppers.py and owners.py what they do over HTTP, staff.py what operators do inside the shop.
journal.py keeps what each of them was told, audit.py holds all of it against the books.

The driver is our own. People have to remember what they were told and act on it, which wrk's scripts cannot.
Locust's users can; but against a server that answers at once, on 500 connections, its fastest client took
0.227 ms of CPU a request and wire.py 0.038 ms (2 cores, load average 6). At 1,250 requests a second that is
28% of a core that the shop needs, or 5%: with Locust the driver is what one would measure. Each day tells
what its people took, decisions and memory included.
"""
