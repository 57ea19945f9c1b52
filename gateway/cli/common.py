"""What several commands share: reading the configuration, or leaving with everything that is wrong with it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import click

from gateway.cli.app import EXIT_FAILED, EXIT_WRONG_INPUT
from gateway.kernelcache import CacheNotOurs, choose
from gateway.settings.load import Examined, examine
from gateway.settings.problems import ConfigurationError, Problem
from gateway.settings.schema import Settings


def load_or_exit(path: Path) -> Settings:
    """The settings of a file; its warnings go to stderr. With problems: all on stderr, one a line, and exit code 2."""
    try:
        examined = examine_here(path)
    except ConfigurationError as error:
        exit_with(error)
    print_warnings(examined.warnings)
    return examined.settings


def examine_here(path: Path) -> Examined:
    """The settings as this process's environment makes them. Raises ConfigurationError."""
    return examine(path, os.environ)


def prepare_kernels() -> None:
    """Choose the kernel cache, before anything imports numba; exit code 1 when there is no safe place for it."""
    try:
        choose(os.environ)
    except (CacheNotOurs, OSError) as error:
        click.echo(f"no place for compiled kernels: {error}", err=True)
        sys.exit(EXIT_FAILED)


def exit_with(error: ConfigurationError) -> NoReturn:
    print_warnings(error.warnings)
    for problem in error.problems:
        click.echo(str(problem), err=True)
    sys.exit(EXIT_WRONG_INPUT)


def print_warnings(warnings: Iterable[Problem]) -> None:
    for found in warnings:
        click.echo(str(found._replace(message=f"warning: {found.message}")), err=True)
