"""python healthcheck.py PORT: whether the process that listens there is ready; prints its reason if it is not.

It runs every few seconds in every container, so it imports little.
"""

import http.client
import sys

connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=3)
try:
    connection.request("GET", "/readyz")
    answer = connection.getresponse()
    reason = answer.read().decode(errors="replace").strip()
except OSError as error:
    sys.exit(f"does not answer: {error}")
sys.exit(None if answer.status == 200 else reason)
