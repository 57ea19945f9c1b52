"""`python -m gateway` and the `fieldgate` command."""

from __future__ import annotations

from gateway.cli.app import main

if __name__ == "__main__":
    main()
