"""The simulated device of `bench control`, a process of its own: prints its port, then serves round after round.

A round is the given number of connections; it ends when the peer has closed them all. Real-time priority below the
executive's, where permitted, as a device has a processor of its own.
"""

from __future__ import annotations

import socket
import sys

from gateway.control.device import serve_connections
from gateway.control.realtime import PRIORITY, become_real_time


def main() -> None:
    connections = int(sys.argv[1])
    serve_connections([])  # compiled before anybody connects
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sys.stdout.write(f"{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        become_real_time(PRIORITY // 2)
        while True:
            serve_connections([listener.accept()[0] for _ in range(connections)])


if __name__ == "__main__":
    main()
