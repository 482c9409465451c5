"""What keeps secrets and pages safe: hashing passwords (passwords.py), sealing what is stored (sealing.py), and what
a page may load (content_policy.py). Tokens are in yousinsa/auth.py; begin with passwords.py.
"""
