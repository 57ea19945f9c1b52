"""Including: one configuration from several files, and values from the environment where the file names them.

`include = ["conf.d/*.toml"]` at the top of the main file adds other files: their tables are put together, and a key
that two of them write is refused, so that the order of files never decides anything. Paths in all of them begin at
the main file's folder. `environment = ["SITE"]` under `[gateway]` names the variables that `${SITE}` may stand for, in
any text of any file; nothing else of the environment can come in, and nothing else with a dollar sign changes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from gateway.settings.document import Document, TomlPlace, read_document
from gateway.settings.forms import says
from gateway.settings.positions import KeyPath
from gateway.settings.problems import ConfigurationError, Problem, Report, show_key
from gateway.settings.units import WrongValueError, array_of, show, text

INCLUDE: Final = "include"
INCLUDED_MAX: Final = 500
"""Files that one configuration includes. More are refused."""
INCLUDES: Final = array_of(text, '["conf.d/*.toml"]', 100)
VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_USE: Final = re.compile(r"\$\{([^{}]*)\}")


def _variable(value: object) -> str:
    word = text(value)
    if not VARIABLE.fullmatch(word):
        raise WrongValueError(f"{show(word)} is not the name of a variable; write letters, digits and _, like SITE")
    return word


ENVIRONMENT: Final = array_of(
    says(_variable, "the name of an environment variable", {"type": "string", "pattern": f"^{VARIABLE.pattern}$"}),
    '["SITE"]',
    100,
)


def read_whole(file: Path) -> Document:
    """The main file with what it includes. Raises ConfigurationError."""
    main = read_document(file)
    if INCLUDE not in main.content:
        return main
    place = main.root().child(INCLUDE)
    try:
        wanted = INCLUDES(main.content[INCLUDE])
    except WrongValueError as wrong:
        raise ConfigurationError((Problem(*place.position(), INCLUDE, str(wrong)),)) from None
    parts, problems = [], []
    for pattern in wanted:
        files = list(_files(file.parent, pattern))
        if not files and not _is_pattern(pattern):
            problems.append(
                Problem(
                    *place.position(), INCLUDE, f"{show(pattern)} is not there; write a file, or a pattern like *.toml"
                )
            )
        parts += [read_document(each) for each in files if each.resolve() != file.resolve()]
    if len(parts) > INCLUDED_MAX:
        problems.append(Problem(*place.position(), INCLUDE, f"are {len(parts)} files; write at most {INCLUDED_MAX}"))
    content = dict(main.content)
    for number, part in enumerate(parts):
        if INCLUDE in part.content:
            position = part.root().child(INCLUDE).position()
            problems.append(Problem(*position, INCLUDE, "stands in an included file; write it in the main file"))
        problems += _put_together(
            content, part.content, part, Document(main.source, main.content, tuple(parts[:number]))
        )
    if problems:
        raise ConfigurationError(tuple(problems))
    return Document(main.source, content, tuple(parts))


def _is_pattern(word: str) -> bool:
    return any(sign in word for sign in "*?[")


def _files(folder: Path, pattern: str) -> Iterator[Path]:
    if not _is_pattern(pattern):
        if (folder / pattern).is_file():
            yield folder / pattern
        return
    path = folder / pattern
    fixed = next(parent for parent in path.parents if not _is_pattern(str(parent)))
    yield from sorted(each for each in fixed.glob(str(path.relative_to(fixed))) if each.is_file())


def _put_together(
    into: dict[str, object], more: Mapping[str, object], of: Document, before: Document, path: KeyPath = ()
) -> Iterator[Problem]:
    """Add `more` to `into`, tables inside tables; a key that both have is a problem."""
    for key, value in more.items():
        if key == INCLUDE and not path:
            continue
        known = into.get(key)
        here = (*path, key)
        if isinstance(known, dict) and isinstance(value, dict):
            into[key] = inner = dict(known)
            yield from _put_together(inner, value, of, before, here)
        elif key in into:
            first = before.position(here)
            where = f"{first.file}:{first.line}"
            yield Problem(*of.position(here), show_key(here), f"stands in {where} already; write it in one of the two")
        else:
            into[key] = value


def substituted(document: Document, environment: Mapping[str, str], report: Report) -> Document:
    """The document with `${NAME}` replaced by what the variable holds, for those named in `gateway.environment`."""
    gateway = document.content.get("gateway")
    if not isinstance(gateway, dict) or "environment" not in gateway:
        return document
    try:
        names = frozenset(ENVIRONMENT(gateway["environment"]))
    except WrongValueError:
        return document  # told where the key is read
    content = _filled(document.content, names, environment, document, report, ())
    assert isinstance(content, dict)
    return Document(document.source, content, document.parts)


def _filled(
    value: object,
    names: frozenset[str],
    environment: Mapping[str, str],
    document: Document,
    report: Report,
    path: KeyPath,
) -> object:
    if isinstance(value, dict):
        return {key: _filled(inner, names, environment, document, report, (*path, key)) for key, inner in value.items()}
    if isinstance(value, list):
        return [
            _filled(inner, names, environment, document, report, (*path, number)) for number, inner in enumerate(value)
        ]
    if not isinstance(value, str) or "${" not in value:
        return value

    def replace(match: re.Match[str]) -> str:
        name = match[1]
        if name in names and name in environment:
            return environment[name]
        place = TomlPlace(document, path)
        if name in names:
            report.problem(place, f"has ${{{name}}}, which the environment does not have; set {name} for the service")
        else:
            known = ", ".join(sorted(names)) or "none"
            report.problem(place, f"has ${{{name}}}, which environment in [gateway] does not name; it names {known}")
        return match[0]

    return _USE.sub(replace, value)
