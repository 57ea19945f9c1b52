"""`fieldgate explain`: any key of a configuration, from the table that the loader is tested against."""

from __future__ import annotations

import json

import click
from rich.text import Text

from gateway.cli import views
from gateway.settings.problems import did_you_mean
from gateway.settings.reference import KEYS, find, lines
from gateway.settings.reference_key import Key


@click.command(name="explain")
@click.argument("key", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--json-schema", "schema", is_flag=True, help="Print the JSON Schema of a configuration, for editors.")
def command(key: str | None, as_json: bool, schema: bool) -> None:
    """Say what a key of the configuration means, what it accepts and what it is by default.

    KEY is a path like control.boiler.pid.kp, with names of your own or NAME; a table like scada; or the end of a path,
    like kp. Without one, all keys are listed.
    """
    if schema:
        from gateway.settings.reference import json_schema

        click.echo(json.dumps(json_schema(), ensure_ascii=False, indent=1))
        return
    found = find(key) if key else KEYS
    if key and not found:
        raise click.BadParameter(f"{key} is not a key; {_near(key)}", param_hint="KEY")
    if as_json:
        keys = [{"key": one.path, "accepts": one.form.words, "default": one.default, "help": one.help} for one in found]
        click.echo(json.dumps({"keys": keys}, ensure_ascii=False, indent=1))
        return
    console = views.console()
    if key and len(found) <= 3:
        for one in found:
            console.print(Text(one.path, "bold"), *(f"  {line}" for line in lines(one)), sep="\n", soft_wrap=True)
        return
    table = views.plain_table("key", "default", "")
    for one in found:
        table.add_row(Text(one.path), Text(one.default, "dim" if one.default.startswith("(") else ""), one.help)
    console.print(table)


def _near(key: str) -> str:
    names: list[str] = [part for one in KEYS for part in (one.path, _end(one))]
    return did_you_mean(key if "." in key else key.lower(), names, "`fieldgate explain` lists all of them")


def _end(key: Key) -> str:
    return key.parts[-1]
