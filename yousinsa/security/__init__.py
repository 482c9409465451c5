"""What keeps secrets: passwords.py hashes them, sealing.py seals what is stored. Tokens are in auth.py.

Begin with passwords.py.
"""
