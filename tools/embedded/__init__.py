"""`make run`: the whole system on one machine, embedded: SQLite replicas, a shared SQLite log per service, no server.

cli        arguments, and the order of things
plan       which processes there are: commands, settings, ports
directory  the data directory: one user at a time, nothing broken in it, migrated
keys       signing keys and the operators' token, made at the first run
ports      who holds a port
readiness  asking a process how it is
supervise  keeps the processes running, and stops them in order
"""
