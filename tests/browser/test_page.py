"""The page in a real browser. `pytest -m browser tests/browser`; not in the default run, for it needs Chromium."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence

import numpy as np
import pytest

from gateway.core.events import Event
from gateway.serving.http.server import HttpServer
from tests.support.http import START_NS, TABLE, FakeSource

pytestmark = pytest.mark.browser

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--enable-logging=stderr"),
)


def now_ns() -> int:
    return START_NS + time.monotonic_ns()


def dump(url: str) -> tuple[str, str]:
    """The document as it stands some seconds later, and what the browser had to say."""
    chromium = shutil.which("chromium")
    assert chromium, "chromium is missing: apt-get install -y chromium"
    with tempfile.TemporaryDirectory() as profile:
        command = [chromium, *FLAGS, f"--user-data-dir={profile}", "--virtual-time-budget=4000", "--dump-dom", url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.stdout, done.stderr


class Failing(FakeSource):
    """Answers some times, then no more."""

    answers_left = 3

    def events(self) -> Sequence[Event]:
        self.answers_left -= 1
        if self.answers_left < 0:
            raise RuntimeError("gone, as the test wants it")
        return super().events()


def visit(source: FakeSource) -> tuple[str, str]:
    server = HttpServer(host="127.0.0.1", port=0, source=source, tables=[TABLE], build={}, now_ns=source.now_ns)
    server.start()
    try:
        return dump(f"http://127.0.0.1:{server.port}/")
    finally:
        server.stop(5.0)


def test_a_page_that_loses_the_gateway_says_so_and_since_when() -> None:
    document, _ = visit(Failing(now_ns))
    assert re.search(r'<p id="lost"[^>]*>Connection lost, last data \d\d:\d\d:\d\d\.', document)
    assert not re.search(r'<p id="lost"[^>]* hidden', document)
    assert "boiler.temperature" in document


def test_the_page_shows_live_values_and_breaks_no_rule_of_its_own() -> None:
    source = FakeSource(now_ns)
    source.component.draw(np.random.default_rng(2), 500)
    document, said = visit(source)
    assert re.search(r'<h1 id="gateway">boiler-house</h1>', document)
    assert re.search(r'<td class="name">boiler\.temperature</td><td class="n value">7\d\.\d+', document)
    for words in ("✕ not initialised", "△ stale", "✕ fail-safe", "✓ good", "sample → aggregate", "hall-b"):
        assert words in document, words
    assert re.search(r'id="lost"[^>]*hidden', document)
    assert "CONSOLE" not in said, said
