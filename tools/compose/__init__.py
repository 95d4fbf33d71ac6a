"""`make up`, `make scale`, `make down`: the system of docker-compose.yml, with as many replicas as are wanted.

cli     arguments, and what is told to a person
checks  what would go wrong, said before anything is started
system  docker compose, for this system: its services, their state
ready   waiting for them, or saying why not
scale   more replicas, and fewer

Nothing but Python's standard library is needed.
"""
