"""Who asks, and what they may: roles, sessions, log-ins.

Without a users file everybody who reaches the listener sees everything and does nothing, which is why the settings
allow that on this machine's loopback only. With one, a visitor is known by the cookie of a session, by HTTP Basic
(RFC 7617; for scripts and scrapers, which keep no cookies), or by a token that the operator's socket gives to those
whom the file system lets in.

A session is 256 random bits of which only the digest is kept. Its cookie is unreadable to scripts and not sent by
other sites (HttpOnly, SameSite=Strict); what changes something needs a second token in a header as well, which no form
of another site can set. Guessing is slow: a password costs a tenth of a second of scrypt, at most `CHECKS_MAX` at a
time, and an address that failed a few times waits, twice as long each time.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Final

from starlette.requests import Request

from gateway.core.events import Emit, Event, Severity
from gateway.core.ports import Clock
from gateway.core.readings import Reading
from gateway.core.types import NS_PER_S
from gateway.serving.http.users import NOBODY, Role, User, UsersInvalid, matches, read_users

COOKIE: Final = "fieldgate"
CSRF_HEADER: Final = "x-csrf-token"
SESSIONS_MAX: Final = 256
"""At the limit the oldest session ends."""
SESSION_NS: Final = 12 * 3_600 * NS_PER_S
"""A shift and its overlap; then one logs in again."""
TOKEN_NS: Final = 3_600 * NS_PER_S
ADDRESSES_MAX: Final = 1_024
"""Addresses whose failures are remembered; at the limit the oldest is forgotten."""
FREE_FAILURES: Final = 5
WAIT_S_MAX: Final = 300
CHECKS_MAX: Final = 2
CHECKS_WAITING_MAX: Final = 16
KNOWN_MAX: Final = 64
"""Basic log-ins whose password was found right lately."""
KNOWN_NS: Final = 300 * NS_PER_S
LOOK_EVERY_NS: Final = NS_PER_S

METRICS = (
    ("fieldgate_http_logins_total", "counter", "Log-ins to the page and the API, by outcome: ok, wrong, slowed."),
    ("fieldgate_http_sessions", "gauge", "Sessions that are logged in."),
)


class NotNow(Exception):
    """A log-in that is not looked at: too many failed from there, or too many are being looked at."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"too many attempts; try again in {seconds} s")
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class Visitor:
    """`csrf`: what the header must say when something is to be changed; empty where no cookie is involved."""

    name: str
    role: Role
    csrf: str = ""


ANYBODY: Final = Visitor("anybody", Role.VIEWER)


@dataclass(slots=True)
class _Session:
    name: str
    csrf: str
    until_ns: int


@dataclass(slots=True)
class _Failures:
    count: int = 0
    until_ns: int = 0


class Access:
    """Of one gateway; it outlives the listener. `note` puts a log-in on record: who, from where, what came of it."""

    def __init__(self, *, now_ns: Clock, emit: Emit, note: Callable[[str, str, str], None]) -> None:
        self._now_ns = now_ns
        self._emit = emit
        self._note = note
        self._path: Path | None = None
        self._users: dict[str, User] = {}
        self._stamp: tuple[int, int, int] | None = None
        self._trouble = ""
        self._look_ns = 0
        self._lock = threading.Lock()
        """Over sessions and tokens: the operator's socket gives tokens from another thread."""
        self._sessions: OrderedDict[bytes, _Session] = OrderedDict()
        self._tokens: OrderedDict[bytes, int] = OrderedDict()
        self._known: OrderedDict[bytes, tuple[str, str, int]] = OrderedDict()
        self._key = secrets.token_bytes(32)
        self._failures: OrderedDict[str, _Failures] = OrderedDict()
        self._checking = 0
        self._checks = asyncio.Semaphore(CHECKS_MAX)
        self._counts = {"ok": 0, "wrong": 0, "slowed": 0}

    @property
    def is_open(self) -> bool:
        """No users file: nobody logs in, everybody sees."""
        return self._path is None

    def use(self, path: Path | None) -> None:
        """From now on, this users file, or none."""
        if path != self._path:
            self._path, self._stamp, self._users, self._trouble = path, None, {}, ""
        self._look_ns = 0
        self._checks = asyncio.Semaphore(CHECKS_MAX)  # of the loop that asks first: a listener has its own
        self._read_again()

    async def visitor(self, request: Request) -> Visitor | None:
        """Who asks; None: nobody that is known. Raises NotNow."""
        if self.is_open:
            return ANYBODY
        self._read_again()
        if (session := self._session(request)) is not None:
            user = self._users.get(session.name)
            return Visitor(session.name, user.role, session.csrf) if user else None
        kind, _, word = request.headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return Visitor("local", Role.VIEWER) if self._has_token(word.strip()) else None
        if kind.lower() == "basic":
            return await self._basic(word.strip(), address_of(request))
        return None

    async def log_in(self, name: str, password: str, address: str) -> tuple[str, Visitor] | None:
        """The new session's cookie and whose it is; None when name or password are wrong. Raises NotNow."""
        self._read_again()
        if not await self._is_right(name, password, address):
            return None
        token, csrf = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        with self._lock:
            self._sessions[_digest(token)] = _Session(name, csrf, self._now_ns() + SESSION_NS)
            if len(self._sessions) > SESSIONS_MAX:
                self._sessions.popitem(last=False)
        return token, Visitor(name, self._users[name].role, csrf)

    def log_out(self, request: Request) -> None:
        with self._lock:
            self._sessions.pop(_digest(_cookie(request)), None)

    def local_token(self) -> str:
        """For those whom the operator's socket lets in: they may see everything for an hour."""
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._tokens[_digest(token)] = self._now_ns() + TOKEN_NS
            if len(self._tokens) > SESSIONS_MAX:
                self._tokens.popitem(last=False)
        return token

    def readings(self) -> Iterator[Reading]:
        for outcome, count in tuple(self._counts.items()):
            yield Reading("fieldgate_http_logins_total", count, (("outcome", outcome),))
        yield Reading("fieldgate_http_sessions", len(self._sessions))

    def _session(self, request: Request) -> _Session | None:
        token = _cookie(request)
        if not token:
            return None
        with self._lock:
            session = self._sessions.get(_digest(token))
            if session is not None and session.until_ns <= self._now_ns():
                del self._sessions[_digest(token)]
                return None
            return session

    def _has_token(self, token: str) -> bool:
        with self._lock:
            return self._tokens.get(_digest(token), 0) > self._now_ns()

    async def _basic(self, word: str, address: str) -> Visitor | None:
        try:
            name, colon, password = base64.b64decode(word, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        user = self._users.get(name)
        # A scrape each few seconds must not cost a tenth of a second: what was right is known for a while, by a keyed
        # digest and against the very hash it was right for.
        mark = hmac.digest(self._key, word.encode(), "sha256")
        known = self._known.get(mark)
        if user and known and known[:2] == (name, user.password) and known[2] > self._now_ns():
            return Visitor(name, user.role)
        if not colon or not await self._is_right(name, password, address, quietly=True):
            return None
        user = self._users[name]
        self._known[mark] = (name, user.password, self._now_ns() + KNOWN_NS)
        if len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)
        return Visitor(name, user.role)

    async def _is_right(self, name: str, password: str, address: str, *, quietly: bool = False) -> bool:
        """Raises NotNow."""
        failures = self._failures.setdefault(address, _Failures())
        self._failures.move_to_end(address)
        if len(self._failures) > ADDRESSES_MAX:
            self._failures.popitem(last=False)
        left_ns = failures.until_ns - self._now_ns()
        if left_ns > 0 or self._checking >= CHECKS_WAITING_MAX:
            self._counts["slowed"] += 1
            raise NotNow(max(1, -(-left_ns // NS_PER_S)))
        user = self._users.get(name)
        self._checking += 1
        # Counted before it is looked at: else many at a time would all be looked at.
        failures.count += 1
        try:
            async with self._checks:
                is_right = await asyncio.to_thread(matches, password, user.password if user else NOBODY)
        finally:
            self._checking -= 1
        if is_right and user is not None and self._users.get(name) == user:
            self._failures.pop(address, None)
            self._counts["ok"] += 1
            if not quietly:
                self._tell(Severity.NOTICE, "login", name, address, "logged in")
            return True
        self._counts["wrong"] += 1
        if failures.count >= FREE_FAILURES:
            wait_s = min(WAIT_S_MAX, 1 << min(failures.count - FREE_FAILURES, 10))
            failures.until_ns = self._now_ns() + wait_s * NS_PER_S
        if failures.count in (1, FREE_FAILURES) or failures.count % 100 == 0:
            shown = name if name in self._users else "somebody unknown"
            what = f"refused, failure {failures.count} from there"
            self._tell(Severity.WARNING, "login.refused", shown, address, what)
        return False

    def _tell(self, severity: Severity, kind: str, name: str, address: str, what: str) -> None:
        self._emit(Event(self._now_ns(), severity, kind, name, f"{name} from {address}: {what}"))
        self._note(name, address, what)

    def _read_again(self) -> None:
        """The file, when it changed. One that cannot be used is told once, and leaves those who were known."""
        now_ns = self._now_ns()
        if self._path is None or now_ns < self._look_ns:
            return
        self._look_ns = now_ns + LOOK_EVERY_NS
        trouble = ""
        try:
            state = self._path.stat()
            stamp = (state.st_mtime_ns, state.st_size, state.st_ino)
            if stamp != self._stamp:
                self._stamp = stamp
                self._users = read_users(self._path)
            else:
                trouble = self._trouble
        except UsersInvalid as error:
            trouble = str(error).splitlines()[0]
        except OSError as error:
            trouble = f"{self._path}: {error.strerror}; `fieldgate user add NAME --role engineer` makes it"
            self._stamp, self._users = None, {}
        if trouble and trouble != self._trouble:
            known = f"the {len(self._users)} users known so far stay" if self._users else "nobody can log in"
            self._emit(Event(now_ns, Severity.ERROR, "users.unusable", "http", f"{trouble} ({known})"))
        self._trouble = trouble


def address_of(request: Request) -> str:
    """An IPv6 client may have 2^64 addresses: its network counts as one."""
    host = request.client.host if request.client else "?"
    try:
        address = ip_address(host)
    except ValueError:
        return host
    return host if address.version == 4 else str(ip_network((address, 64), strict=False))


def is_among(request: Request, networks: tuple[str, ...]) -> bool:
    try:
        address = ip_address(request.client.host if request.client else "")
    except ValueError:
        return False
    return any(address in ip_network(network) for network in networks)


def _cookie(request: Request) -> str:
    try:
        cookie = SimpleCookie(request.headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return cookie.value if cookie else ""


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
