"""Accounts and login state."""
