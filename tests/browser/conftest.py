"""A browser, and a gateway with a plant behind it that people look at."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from hil.devices.instruments import MeterUnit, TankUnit
from hil.devices.modbus import Endpoint, Unit
from tests.support.daemon import Gateway, Outside

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CONFIG = """
[gateway]
id = "water-works"
state_dir = "state"
[defaults]
every = "100ms"
[links.plc]
modbus_tcp = "127.0.0.1:{plc}"
[links.hall]
modbus_tcp = "127.0.0.1:{hall}"
[devices.tank]
link = "plc"
tags.level = {{ register = "holding 0", type = "float32", unit = "%", alarm = {{ high = 40 }} }}
tags.outflow = {{ register = "holding 2", type = "float32", unit = "l/s" }}
tags.valve = {{ register = "holding 10", type = "uint16", scale = 0.1, unit = "%", write = true }}
[devices.meter]
link = "hall"
unit = 2
tags.voltage = {{ register = "holding 0", type = "float32", unit = "V" }}
[control.tank]
pid = {{ input = "tank.level", output = "tank.valve", setpoint = 30.0, kp = 8.0, ti = "3s", every = "20ms" }}
limits = {{ min = 0, max = 100 }}
setpoint_limits = {{ min = 20, max = 90 }}
failsafe = {{ output = 0, when_older_than = "500ms" }}
[history]
[writes]
page = ["control.tank.*"]
[http]
listen = "127.0.0.1:<http>"
users_file = "users.toml"
"""
PASSWORD = "turn the valve slowly"
PEOPLE = {"anna": "operator", "victor": "viewer"}


class Plant:
    """A tank under control, a meter whose link can be cut, and their gateway."""

    def __init__(self, gateway: Gateway, outside: Outside, hall: Endpoint) -> None:
        self.gateway = gateway
        self.url = f"http://127.0.0.1:{gateway.http_port}/"
        self._outside = outside
        self._hall = hall

    def cut_hall(self) -> None:
        self._outside.run(self._hall.stop())

    def mend_hall(self) -> None:
        self._outside.run(self._hall.start())

    def loop(self) -> dict[str, Any]:
        """The tank's loop as a script sees it."""
        answer = httpx.get(f"{self.url}api/loops", auth=("victor", PASSWORD), timeout=10)
        [found] = answer.json()["loops"]
        return dict(found["loop"])


@pytest.fixture(scope="session")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    folder = tmp_path_factory.mktemp("water-works")
    with ExitStack() as stack:
        outside = stack.enter_context(Outside())
        endpoints = Endpoint(Unit(1, TankUnit())), Endpoint(Unit(2, MeterUnit(1)))
        for endpoint in endpoints:
            outside.run(endpoint.start())
            stack.callback(lambda endpoint=endpoint: outside.run(endpoint.stop()))
        plc, hall = endpoints
        gateway = stack.enter_context(Gateway(folder, CONFIG.format(plc=plc.port, hall=hall.port)))
        for name, role in PEOPLE.items():
            words = ("user", "add", name, "--role", role, "--password-stdin", "--config", str(gateway.config))
            command = [sys.executable, "-m", "gateway", *words]
            subprocess.run(command, input=f"{PASSWORD}\n", text=True, check=True, timeout=60, capture_output=True)
        gateway.start()
        yield Plant(gateway, outside, hall)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright  # only where the browser tests are run

    chromium = shutil.which("chromium")
    assert chromium, "chromium is missing: apt-get install -y chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser, plant: Plant, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """Opens the page as somebody, or as nobody yet. What the browser complains of fails the test."""
    complaints: list[str] = []
    contexts = []

    def visit(user: str | None = None, **options: Any) -> Page:
        context = browser.new_context(
            **{"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce", **options}
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(plant.url)
        if user is not None:
            log_in(page, user)
            page.get_by_text(f"{user} · {PEOPLE[user]}").wait_for()
        return page

    yield visit
    for context in contexts:
        context.close()
    assert not complaints


def log_in(page: Page, user: str, password: str = PASSWORD) -> None:
    dialog = page.get_by_role("dialog", name="Log in")
    dialog.get_by_label("User").fill(user)
    dialog.get_by_label("Password").fill(password)
    dialog.get_by_role("button", name="Log in").click()
