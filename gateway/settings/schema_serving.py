"""What the page, the API and the metrics are served by, once it is read."""

from __future__ import annotations

from pathlib import Path

import msgspec

from gateway.core.limits import CONNECTIONS_PER_CLIENT


class Http(msgspec.Struct, frozen=True, kw_only=True):
    host: str
    port: int
    users_file: Path | None = None
    """None: nobody logs in, everybody who reaches the listener sees, nobody acts."""
    cert_file: Path | None = None
    key_file: Path | None = None
    metrics_clients: tuple[str, ...] = ()
    """Networks whose scrapers need not log in."""
    connections_per_client: int = CONNECTIONS_PER_CLIENT
    """Of all the connections there may be, those of one client: an IPv4 address, or the /64 of an IPv6 one."""
