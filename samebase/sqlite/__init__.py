"""The embedded adapters: a replica's database is a SQLite file, the log is another one.

`connection` opens the database, `preflight` says whether a table can be replicated, `triggers` and `install` make the
change log, `changes`, `store` and `log` are the ports.
"""
