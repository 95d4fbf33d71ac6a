"""Samebase measured on real servers against MySQL's own replication: `python -m bench.real`.

Servers are containers on the network of this machine, all with the same settings and storage (`servers`); sync
processes are real `samebase run` processes (`syncs`); load comes from mysqlslap and from processes of their own
(`load`). Each figure is a module: it measures both sides in turn, and gives what `report` prints.
"""
