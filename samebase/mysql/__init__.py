"""A replica's database on a MySQL server of its own.

`connection` opens sessions and says what the server's errors mean; `values` gives each column type its one canonical
form; `catalog` reads what the tables look like; `preflight` says what to change on a server that cannot be used;
`install` makes the schema `samebase`; `stream`, `alarm`, `events`, `decode`, `transactions` and `changes` read the
binary log; `statements`, `state` and `store` write.
"""
