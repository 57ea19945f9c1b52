"""The page in a browser, over a plant that does not exist and in which everything is there to be shown."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pytest

from gateway.core.events import Event, Severity
from gateway.serving.http.server import HttpServer
from tests.support.http import START_NS, TABLE, FakeSource

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser


def now_ns() -> int:
    return START_NS + time.monotonic_ns()


class Failing(FakeSource):
    """Answers some times, then no more."""

    answers_left = 3

    def events(self) -> Sequence[Event]:
        self.answers_left -= 1
        if self.answers_left < 0:
            raise RuntimeError("gone, as the test wants it")
        return super().events()


@contextmanager
def visited(browser: Browser, source: FakeSource, said: list[str]) -> Iterator[Page]:
    """The page; `said` gets what the browser has to say."""
    server = HttpServer(host="127.0.0.1", port=0, source=source, tables=[TABLE], build={}, now_ns=source.now_ns)
    server.start()
    page = browser.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    try:
        page.goto(f"http://127.0.0.1:{server.port}/")
        yield page
    finally:
        page.close()
        server.stop(5.0)


def test_a_page_that_loses_the_gateway_says_so_and_since_when(browser: Browser) -> None:
    with visited(browser, Failing(now_ns), []) as page:
        page.get_by_text(re.compile(r"Connection lost, last data \d\d:\d\d:\d\d\.")).wait_for()
        page.get_by_text("boiler.temperature").first.wait_for()


def test_the_page_shows_live_values_and_breaks_no_rule_of_its_own(browser: Browser) -> None:
    source = FakeSource(now_ns)
    source.component.draw(np.random.default_rng(2), 500)
    said: list[str] = []
    with visited(browser, source, said) as page:
        page.get_by_role("heading", name="boiler-house").wait_for()
        value = page.locator("#tags tbody tr", has_text="boiler.temperature").first.locator("td.value")
        assert re.match(r"7\d\.\d+", value.inner_text())
        shown = page.locator("body").inner_text()
        for words in ("✕ not initialised", "△ stale", "✕ fail-safe", "✓ good", "sample → aggregate", "hall-b"):
            assert words in shown, words
        assert page.locator("#lost").is_hidden()
    assert said == []


def test_on_a_phone_nothing_is_cut_off(browser: Browser) -> None:
    """What is said of an event is read whole, without moving the page."""
    source = FakeSource(now_ns)
    source.the_events.append(Event(START_NS, Severity.INFO, "audit.head", "audit", f"7:{'95e1d672' * 8}"))
    with visited(browser, source, []) as page:
        page.set_viewport_size({"width": 390, "height": 844})
        page.get_by_text("audit.head").wait_for()
        ends = page.evaluate(
            "[...document.querySelectorAll('.cards td')].map((cell) => cell.getBoundingClientRect().right)"
        )
        assert ends
        assert max(ends) <= 390
