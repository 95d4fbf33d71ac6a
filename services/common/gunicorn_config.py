"""How gunicorn serves a service; the command line adds where it listens and with how many threads."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from prometheus_client import multiprocess

worker_class = "gthread"
# One worker: sign-in limits are counted per worker, and on a machine that runs all of the system a second one in the
# gateway made nothing faster (measured on two cores: 75 writes per second either way).
workers = 1
graceful_timeout = 5
loglevel = "warning"
control_socket_disable = True


def on_starting(_server: Any) -> None:
    """Metrics of an earlier run are none of ours."""
    if directory := os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        shutil.rmtree(directory, ignore_errors=True)
        Path(directory).mkdir(parents=True)


def child_exit(_server: Any, worker: Any) -> None:
    """A worker that died no longer counts in the metrics of its process group."""
    multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
