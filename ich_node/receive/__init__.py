"""Receive: association policy, C-ECHO, C-STORE to disk and database."""
