"""Whether the ports are free, and who holds one that is not."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path

LISTENING = "0A"


def in_use(host: str, port: int) -> bool:
    """Whether a server cannot listen there."""
    with socket.socket() as probe:
        # As servers do: connections that are merely closing are no hindrance.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def holder(port: int) -> int | None:
    """The process that listens on the port; None if it cannot be told (it may be somebody else's)."""
    if Path("/proc/net/tcp").exists():
        return _holder_by_proc(port)
    if shutil.which("lsof"):
        found = subprocess.run(
            ["lsof", "-nP", f"-iTCP:{port}", "-sTCP:LISTEN", "-t"], capture_output=True, text=True, check=False
        )
        return int(found.stdout.split()[0]) if found.stdout.split() else None
    return None


def describe(pid: int) -> str:
    """`pid 4711 (python -m http.server)`, as far as it can be told."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        command = ""
    shown = command if len(command) <= 80 else command[:77] + "..."
    return f"pid {pid} ({shown})" if shown else f"pid {pid}"


def _holder_by_proc(port: int) -> int | None:
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:] if Path(table).exists() else ():
            fields = line.split()
            if fields[3] == LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    for directory in Path("/proc").glob("[0-9]*/fd"):
        try:
            if any(str(link.readlink()) in inodes for link in directory.iterdir()):
                return int(directory.parent.name)
        except OSError:  # it ended, or is somebody else's
            continue
    return None
