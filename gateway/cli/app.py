"""The command line: one module a command, imported when the command is called.

Importing Numba costs more than most commands need, so `fieldgate version` must not pay for `fieldgate run`.

Exit codes: 0 done; 1 it was tried and failed; 2 the command line or the configuration is wrong; 130 interrupted.
"""

from __future__ import annotations

import importlib
import sys

import click

from gateway import __version__

EXIT_FAILED = 1
EXIT_WRONG_INPUT = 2
EXIT_INTERRUPTED = 130

COMMANDS: dict[str, str] = {
    "run": "Run the gateway.",
    "status": "Say how a running gateway is.",
    "top": "Watch a running gateway, refreshed every second.",
    "tags": "List tags of a running gateway with value, quality and age.",
    "tail": "Print the values of tags as they come.",
    "events": "List the latest events of a running gateway.",
    "alarms": "List the alarms of a running gateway, acknowledge or shelve them.",
    "history": "Draw, or print, what a tag was.",
    "write": "Write a value to a tag of a running gateway.",
    "user": "Say who may log in to the page and the API.",
    "init": "Write a first configuration, by asking a few questions.",
    "check": "Check a configuration and report every error in it.",
    "diff": "Say what a reload would change and restart.",
    "migrate": "Bring a configuration to the present version of its keys.",
    "reload": "Have a running gateway read its configuration again.",
    "plan": "Show what each Modbus link is asked for, and how busy that makes it.",
    "scan": "Look for Modbus units at given addresses, and write a first configuration.",
    "explain": "Explain any key of a configuration.",
    "registers": "Print the register map that SCADA reads.",
    "spool": "Look into what waits for the upstream, verify it, export it.",
    "dead-letters": "Look at payloads and records that could not be used; try payloads again.",
    "audit": "Say who did what, and prove that nobody changed it since.",
    "backup": "Put configuration and state into one archive.",
    "restore": "Put a backup back.",
    "support": "Collect what helps to find a fault, without secrets.",
    "reconcile": "Prove that what was produced arrived once, or name what did not.",
    "demo": "Show everything at work, with simulated devices and no set-up.",
    "simulate": "Serve simulated devices to try a configuration on.",
    "maintenance": "Say that a device is worked on: its scores learn and raise no alarm.",
    "feedback": "Say that what a score flags was normal.",
    "baseline": "Hold tags against a reference period.",
    "tune": "Find gains for a loop by a relay test, within limits.",
    "replay": "Play a journal or a recorded table through the engine again.",
    "score": "Try the anomaly scores on a recorded history.",
    "bench": "Measure what this machine can do.",
    "version": "Print the version of fieldgate and of what it runs on.",
}


class LazyGroup(click.Group):
    """A group whose commands live in `gateway.cli.<name>`, each as `command`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"gateway.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="fieldgate")
def app() -> None:
    """Edge gateway for industrial plants."""


def main() -> None:
    """As click's own, but for questions that nobody answers, and files that we may not look at."""
    try:
        code = app.main(prog_name="fieldgate", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        click.echo("interrupted, or nobody was there to answer; --help shows the options that do", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except OSError as error:
        if error.filename is None:
            raise
        click.echo(
            f"{error.filename}: {(error.strerror or str(error)).lower()}; check the path and its permissions", err=True
        )
        sys.exit(EXIT_FAILED)
    sys.exit(code if isinstance(code, int) else 0)
