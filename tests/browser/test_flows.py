"""What people do at the page, done by a browser at a whole gateway with a tank and a meter behind it."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.conftest import Plant, log_in
from tests.support.daemon import until

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.browser

Visit = Callable[..., "Page"]


def row(page: Page, table: str, name: str) -> Locator:
    return page.locator(f"#{table} tbody tr", has=page.locator("td.name", has_text=name)).first


def text(locator: Locator) -> str:
    return locator.inner_text()


def test_one_logs_in_and_out_and_nothing_is_seen_in_between(visit: Visit) -> None:
    page = visit()
    assert page.locator("#gateway").inner_text() == "fieldgate"  # nothing of the plant, not even its name
    log_in(page, "anna", "not the password")
    page.get_by_text("user or password are wrong").wait_for()
    log_in(page, "anna")
    page.get_by_text("anna · operator").wait_for()
    page.get_by_role("heading", name="water-works").wait_for()
    page.get_by_role("button", name="Log out").click()
    page.get_by_role("dialog", name="Log in").wait_for()
    page.reload()
    page.get_by_role("dialog", name="Log in").wait_for()
    assert page.locator("#gateway").inner_text() == "fieldgate"


def test_one_finds_a_tag_and_watches_it_move(visit: Visit) -> None:
    page = visit("victor")
    page.get_by_label("Search tags").fill("meter volt")
    page.get_by_text("1 found").wait_for()
    value = row(page, "tags", "meter.voltage").locator("td.value")
    first = text(value)
    assert re.match(r"\d+(\.\d+)?\s*V", first)
    until(lambda: text(value) != first, "the value moves")
    assert "✓ good" in text(row(page, "tags", "meter.voltage"))


def test_one_looks_at_what_a_tag_was(visit: Visit) -> None:
    page = visit("victor")
    page.get_by_label("Search tags").fill("meter volt")
    page.get_by_role("button", name="Trend meter.voltage").click()
    dialog = page.get_by_role("dialog", name="meter.voltage")
    hour = dialog.get_by_role("button", name="1 hour")

    def is_drawn() -> bool:
        hour.click()
        dialog.get_by_text(
            re.compile(r"One point every|Nothing is kept|nothing is kept yet|not in the history")
        ).wait_for()
        return "One point every 10 s" in text(dialog)

    until(is_drawn, "the first step of the history is there", 40.0)
    assert hour.get_attribute("aria-pressed") == "true"
    dialog.get_by_role("button", name="Close").click()
    assert not dialog.is_visible()


def test_a_viewer_has_no_buttons_that_do_anything(visit: Visit) -> None:
    page = visit("victor")
    page.get_by_role("heading", name="water-works").wait_for()
    row(page, "tags", "tank.level").wait_for()
    assert page.get_by_role("button", name=re.compile("Acknowledge|Shelve|Set")).count() == 0


def test_one_changes_a_setpoint_after_a_question_and_acknowledges_the_alarm_that_comes_of_it(
    visit: Visit, plant: Plant
) -> None:
    page = visit("anna")

    def set_(point: str, value: str, *, until_asked: str) -> Locator:
        page.get_by_role("button", name=f"Set {point} of tank").click()
        dialog = page.get_by_role("dialog", name=f"control.tank.{point}")
        field = dialog.get_by_role("textbox") if point != "mode" else dialog.get_by_role("combobox")
        (field.fill if point != "mode" else field.select_option)(value)
        dialog.get_by_role("button", name="Go on").click()
        dialog.get_by_text(re.compile(until_asked)).wait_for()
        return dialog

    dialog = set_("setpoint", "60", until_asked=r"Write 60 % to control\.tank\.setpoint\? It was 30 %\.")
    dialog.get_by_role("button", name="Cancel").click()
    assert plant.loop()["setpoint"] == 30.0, "nothing was done"
    dialog = set_("setpoint", "600", until_asked="Write 600 %")
    dialog.get_by_role("button", name="Yes, do it").click()
    dialog.get_by_text(re.compile("600.* is outside 20")).wait_for()
    dialog.get_by_role("button", name="Cancel").click()
    assert plant.loop()["setpoint"] == 30.0, "nothing was done"
    set_("setpoint", "60", until_asked="Write 60 %").get_by_role("button", name="Yes, do it").click()
    until(lambda: plant.loop()["setpoint"] == 60.0, "the loop has it")

    alarm = row(page, "alarms", "tank.level/high")
    alarm.get_by_text("not acknowledged").wait_for(timeout=60_000)
    alarm.get_by_role("button", name="Acknowledge").click()
    asked = page.get_by_role("dialog", name="tank.level/high")
    asked.get_by_text("Acknowledge tank.level/high?").wait_for()
    asked.get_by_role("button", name="Yes, do it").click()
    alarm.get_by_text("✕ acknowledged").wait_for()
    assert plant.gateway.lines("alarm.acknowledged") or "anna" in plant.gateway.text()

    set_("mode", "manual", until_asked="Write manual").get_by_role("button", name="Yes, do it").click()
    page.locator(".loop", has_text="tank").get_by_text("manual").first.wait_for()
    set_("mode", "auto", until_asked="Write auto").get_by_role("button", name="Yes, do it").click()
    until(lambda: plant.loop()["mode"] == "auto", "the loop runs again")


def test_a_link_dies_and_returns_before_ones_eyes(visit: Visit, plant: Plant) -> None:
    page = visit("victor")
    link = row(page, "links", "hall")
    link.get_by_text("✓ up").wait_for()
    plant.cut_hall()
    try:
        link.get_by_text("✕ down").wait_for()
        page.get_by_text("1 down").wait_for()
        row(page, "tags", "meter.voltage").get_by_text(re.compile("✕|△")).first.wait_for()
    finally:
        plant.mend_hall()
    link.get_by_text("✓ up").wait_for()
    row(page, "tags", "meter.voltage").get_by_text("✓ good").wait_for()


def test_a_gateway_that_stops_answering_is_said_to_be_gone(visit: Visit, plant: Plant) -> None:
    page = visit("victor")
    row(page, "tags", "tank.level").wait_for()
    plant.gateway.signal(signal.SIGSTOP)
    try:
        page.get_by_text(re.compile(r"Connection lost, last data \d\d:\d\d:\d\d\.")).wait_for()
    finally:
        plant.gateway.signal(signal.SIGCONT)
    page.locator("#lost").wait_for(state="hidden")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_everybody_can_use_it(visit: Visit, scheme: str, width: int) -> None:
    """axe-core finds nothing serious or critical, and nothing sticks out of a phone's screen."""
    from axe_playwright_python.sync_playwright import Axe

    page = visit(color_scheme=scheme, viewport={"width": width, "height": 900})
    page.get_by_role("dialog", name="Log in").wait_for()
    found = faults(Axe().run(page).response)
    log_in(page, "anna")
    row(page, "tags", "tank.level").wait_for()
    found += faults(Axe().run(page).response)
    page.get_by_role("button", name="Set setpoint of tank").click()
    page.get_by_role("dialog", name="control.tank.setpoint").wait_for()
    found += faults(Axe().run(page).response)
    assert not found
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def faults(response: dict[str, Any]) -> list[str]:
    return [
        f"{fault['impact']}: {fault['help']}: {[node['html'][:120] for node in fault['nodes'][:3]]}"
        for fault in response["violations"]
        if fault["impact"] in ("serious", "critical")
    ]
