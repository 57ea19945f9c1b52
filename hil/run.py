"""`python -m hil.run SCENARIO…`: plants on real sockets, controlled by the gateway; a report of what came of it.

The trend is taken at the plant, every 20 ms, so that it shows what really happened whatever the gateway thought.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Final

import click

from hil.devices.plc import Plant, Plc, plc
from hil.drivers import Daemon, Driver, Executive, line
from hil.figures import Point, StepResponse, step_response
from hil.hardware import Hardware, check_for_hardware, load_hardware
from hil.paint import paint
from hil.scenario import Entry, Expectation, Scenario, ScenarioError, load, make_plant

LOOK_EVERY_S: Final = 0.02
CONTROL_WITHIN_S: Final = 90.0
"""Until the first write: a daemon may have to compile first."""
SCENARIOS: Final = Path(__file__).parent / "scenarios"


@dataclass(frozen=True)
class Verdict:
    expectation: Expectation
    worst: float
    """The largest deviation from what is expected, in its own unit."""

    @property
    def is_met(self) -> bool:
        return self.worst <= self.expectation.within


@dataclass(frozen=True)
class Result:
    name: str
    scenario: Scenario
    points: Sequence[Point]
    steps: Sequence[StepResponse]
    verdicts: Sequence[Verdict]

    @property
    def has_passed(self) -> bool:
        return all(verdict.is_met for verdict in self.verdicts)


def run(name: str, scenario: Scenario) -> Result:
    """Raises ScenarioError when control never begins."""
    with plc(make_plant(scenario.plant), scenario.plant.speed, round(10 * scenario.plant.actuator)) as device:
        device.look()
        device.watchdog_s = scenario.plant.watchdog_ms / 1000.0
        driver: Driver
        if scenario.runs == "daemon":
            baud = scenario.plant.line_baud
            driver = Daemon(device.port, scenario.loop, line(device.open_line(baud), baud) if baud else "")
        else:
            driver = Executive(device.port, scenario.loop)
        driver.start()
        try:
            deadline_s = time.monotonic() + CONTROL_WITHIN_S
            while not device.writes:
                if time.monotonic() > deadline_s:
                    raise ScenarioError(f"{name}: nothing was written within {CONTROL_WITHIN_S:g} s")
                time.sleep(LOOK_EVERY_S)
            points = follow(scenario, device.look, driver, lambda entry: happen(entry, device, driver))
        finally:
            driver.stop()
    return Result(name, scenario, points, steps_of(scenario, points), [judge(e, points) for e in scenario.expect])


def run_on(hardware: Hardware, name: str, scenario: Scenario) -> Result:
    """Against real hardware, the trend as the executive sees it. Raises ScenarioError."""
    check_for_hardware(name, scenario)
    driver = Executive(0, scenario.loop, hardware)
    driver.start()
    try:
        deadline_s = time.monotonic() + CONTROL_WITHIN_S
        while not driver.is_controlling():
            if time.monotonic() > deadline_s:
                raise ScenarioError(f"{name}: {hardware.modbus_tcp} was not controlled in {CONTROL_WITHIN_S:g} s")
            time.sleep(LOOK_EVERY_S)
        points = follow(scenario, driver.look, driver, lambda entry: None)
    finally:
        driver.stop()
    return Result(name, scenario, points, steps_of(scenario, points), [judge(e, points) for e in scenario.expect])


def follow(
    scenario: Scenario, look: Callable[[], tuple[float, float]], driver: Driver, happen: Callable[[Entry], None]
) -> list[Point]:
    """Let the timeline happen, and look."""
    waiting = sorted(scenario.timeline, key=lambda entry: entry.at_s)
    setpoint = scenario.loop.setpoint
    points: list[Point] = []
    start_s = time.monotonic()
    while (at_s := time.monotonic() - start_s) < scenario.seconds:
        while waiting and waiting[0].at_s <= at_s:
            entry = waiting.pop(0)
            if entry.setpoint is not None:
                driver.set_setpoint(entry.setpoint)
            happen(entry)
            setpoint = setpoint if entry.setpoint is None else entry.setpoint
        value, output = look()
        points.append(Point(at_s, setpoint, value, output))
        time.sleep(LOOK_EVERY_S)
    return points


def happen(entry: Entry, device: Plc, driver: Driver) -> None:
    """What is not a setpoint."""
    if entry.disturb:
        changes = entry.disturb

        def changed(plant: Plant) -> Plant:
            return replace(plant, **changes)  # type: ignore[type-var]

        device.disturb(changed)
    if entry.fault == "freeze":
        device.is_frozen = True
    elif entry.fault == "nan":
        device.reads_nan = True
    elif entry.fault == "silence":
        device.is_silent = True
    elif entry.fault == "unplug":
        device.unplug()
    elif entry.fault == "lose power":
        device.lose_power()
    elif entry.fault == "repair":
        device.is_frozen = device.reads_nan = device.is_silent = device.is_unplugged = False
    elif entry.fault is not None:
        driver.fault(entry.fault)


def steps_of(scenario: Scenario, points: Sequence[Point]) -> list[StepResponse]:
    """The response to every setpoint step of the timeline, until the next entry of it."""
    times_s = [*sorted(entry.at_s for entry in scenario.timeline), scenario.seconds]
    found = []
    for entry in scenario.timeline:
        if entry.setpoint is not None:
            end_s = next(at_s for at_s in times_s if at_s > entry.at_s)
            before = max((point for point in points if point.at_s < entry.at_s), key=lambda point: point.at_s)
            during = [p for p in points if p.at_s > before.at_s and p.at_s < end_s and p.setpoint == entry.setpoint]
            found.append(step_response(during, before.value))
    return found


def judge(expectation: Expectation, points: Sequence[Point]) -> Verdict:
    during = [point for point in points if expectation.from_s <= point.at_s <= expectation.to_s]
    if expectation.what == "settled":
        worst = max(abs(point.value - point.setpoint) for point in during)
    elif expectation.what == "output":
        worst = max(abs(point.output - expectation.is_) for point in during)
    elif expectation.what == "bumpless":
        worst = max(abs(b.output - a.output) for a, b in pairwise(during))
    else:
        before = max((point for point in points if point.at_s < expectation.from_s), key=lambda point: point.at_s)
        worst = step_response([p for p in during if p.setpoint == during[-1].setpoint], before.value).overshoot_percent
    return Verdict(expectation, worst)


def report(results: Sequence[Result]) -> str:
    """Markdown, with the trends beside it."""
    lines = ["# HIL report", ""]
    for result in results:
        lines += [f"## {result.name}: {'passed' if result.has_passed else 'FAILED'}", "", result.scenario.about, ""]
        lines += [f"![trend of {result.name}]({result.name}.png)", ""]
        for verdict in result.verdicts:
            lines.append(f"- {verdict_line(verdict)}")
        if result.steps:
            lines += ["", "| step at | rise | overshoot | settling | IAE |", "| --- | --- | --- | --- | --- |"]
            lines += [step_line(step) for step in result.steps]
        lines.append("")
    return "\n".join(lines)


def verdict_line(verdict: Verdict) -> str:
    e = verdict.expectation
    what = f"{e.what} {e.is_:g} %" if e.what == "output" else e.what
    met = "met" if verdict.is_met else "NOT MET"
    return f"{what} within {e.within:g} from {e.from_s:g} s to {e.to_s:g} s: {met} (worst {verdict.worst:.3g})"


def step_line(step: StepResponse) -> str:
    def seconds(value: float | None) -> str:
        return "not reached" if value is None else f"{value:.2f} s"

    figures = (seconds(step.rise_s), f"{step.overshoot_percent:.1f} %", seconds(step.settling_s), f"{step.iae:.4g}")
    return f"| {step.at_s:.1f} s | " + " | ".join(figures) + " |"


def as_json(result: Result) -> dict[str, object]:
    return {
        "scenario": result.name,
        "passed": result.has_passed,
        "verdicts": [
            {"what": v.expectation.what, "within": v.expectation.within, "worst": v.worst, "met": v.is_met}
            for v in result.verdicts
        ],
        "steps": [asdict(step) for step in result.steps],
    }


@click.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--report", "folder", type=click.Path(file_okay=False, path_type=Path), help="Write report and trends.")
@click.option(
    "--hardware",
    "hardware_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Run against real hardware, as this TOML file says where it is (see hil/hardware.py). It moves its actuator.",
)
@click.option("--json", "is_json", is_flag=True, help="Print one JSON object a scenario, one a line.")
def main(files: Sequence[Path], folder: Path | None, hardware_file: Path | None, is_json: bool) -> None:
    """Run scenario files, or all that come with the gateway. Exits with 1 when one fails."""
    results = []
    for path in files or sorted(SCENARIOS.glob("*.toml")):
        try:
            scenario = load(path)
            hardware = None if hardware_file is None else load_hardware(hardware_file)
            result = run(path.stem, scenario) if hardware is None else run_on(hardware, path.stem, scenario)
        except ScenarioError as error:
            raise click.ClickException(str(error)) from error
        results.append(result)
        if is_json:
            click.echo(json.dumps(as_json(result)))
        else:
            click.echo(f"{'passed' if result.has_passed else 'FAILED'}  {result.name}")
            for verdict in result.verdicts:
                click.echo(f"        {verdict_line(verdict)}")
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "README.md").write_text(report(results), encoding="utf-8")
        for result in results:
            marks = [(entry.at_s, entry.label()) for entry in result.scenario.timeline]
            paint(folder / f"{result.name}.png", result.name, result.points, marks)
    if not all(result.has_passed for result in results):
        sys.exit(1)


if __name__ == "__main__":
    main()
