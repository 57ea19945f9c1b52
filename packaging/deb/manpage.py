"""The manual page, made of the commands themselves: manpage.py VERSION > fieldgate.1

What a command and its options say on the terminal is what stands in the page, so the two cannot differ.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click

from gateway.cli.app import COMMANDS, app

HEAD = """\
.TH FIELDGATE 1 "" "fieldgate {version}" "User Commands"
.SH NAME
fieldgate \\- edge gateway for industrial plants
.SH SYNOPSIS
.B fieldgate
.I COMMAND
.RI [ OPTION ]...
.SH DESCRIPTION
Polls Modbus devices and listens to MQTT sensors, keeps rolling aggregates and anomaly scores, drives control loops,
shows everything to SCADA as Modbus registers and to Prometheus as metrics, and delivers upstream exactly once.
One TOML file says what it does; any key of it is explained by
.BR "fieldgate explain" .
.SH COMMANDS
"""
TAIL = """\
.SH EXIT STATUS
.TP
.B 0
done
.TP
.B 1
tried and failed
.TP
.B 2
the command line or the configuration is wrong
.TP
.B 130
interrupted
.SH FILES
.TP
.I /etc/fieldgate/fieldgate.toml
the configuration of the service; more of it in
.I /etc/fieldgate/conf.d
.TP
.I /var/lib/fieldgate
its state: records that wait, checkpoints, history, the audit trail
.TP
.I /var/cache/fieldgate
compiled kernels; may be deleted
.TP
.I /usr/share/doc/fieldgate/examples
every setting, register maps, drop-ins for the unit
.SH SIGNALS
SIGHUP has the configuration read again; a wrong one is refused. SIGTERM ends it within five seconds.
.SH SEE ALSO
.BR systemctl (1),
.BR journalctl (1),
.BR mbpoll (1)
"""


def text(words: str) -> str:
    """As roff takes it: no line begins with a control character, no hyphen turns into a dash."""
    escaped = words.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join(f"\\&{line}" if line.startswith((".", "'")) else line for line in escaped.splitlines())


def page(version: str) -> Iterator[str]:
    yield HEAD.format(version=text(version))
    context = click.Context(app, info_name="fieldgate")
    for name in COMMANDS:
        command = app.get_command(context, name)
        assert command is not None
        yield from described(command, click.Context(command, parent=context, info_name=name))
    yield TAIL


def described(command: click.Command, context: click.Context) -> Iterator[str]:
    usage = command.collect_usage_pieces(context)
    yield f".SS {text(context.command_path)} {text(' '.join(usage))}\n"
    for number, paragraph in enumerate((command.help or "").split("\n\n")):
        yield (".PP\n" if number else "") + text(" ".join(paragraph.split())) + "\n"
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and "--help" not in record[0]:
            yield f".TP\n.B {text(record[0])}\n{text(' '.join(record[1].split()))}\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from described(inner, click.Context(inner, parent=context, info_name=name))


if __name__ == "__main__":
    sys.stdout.write("".join(page(sys.argv[1])))
