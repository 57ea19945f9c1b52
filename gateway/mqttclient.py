"""aiomqtt's client, made safe for a loop with other connections, and what may be wrong with a broker, in words.

For what is published, and for orders: the low-rate side of MQTT.
"""

from __future__ import annotations

import asyncio
import re
import select
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final

import aiomqtt
import paho.mqtt.client as paho
from aiomqtt.exceptions import MqttConnectError
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from gateway.core.ports import Clock, LinkDown
from gateway.core.types import NS_PER_S
from gateway.native.errors import words
from gateway.sendqueue import traffic, unacknowledged
from gateway.settings.credentials import CredentialError, password_of, tls_context, username_of
from gateway.settings.schema import BrokerAddress, MqttVersion

READS_AT_ONCE: Final = 64
RECEIVING: Final = ("failed to receive on socket", "timeout on socket")
"""How paho's lines begin that say why a connection ended."""
UNSPECIFIED_ERROR: Final = 0x80
"""paho's word for an end of file."""
LOOK_EVERY_S: Final = 1.0
"""At the keep-alive."""
FAREWELL_S: Final = 1.0
"""How long a DISCONNECT may take to get out."""

VERSIONS: Final = {MqttVersion.V311: aiomqtt.ProtocolVersion.V311, MqttVersion.V5: aiomqtt.ProtocolVersion.V5}
_REMEDIES: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (ssl.SSLCertVerificationError, "check ca_file, and that the certificate names this host"),
    (ssl.SSLError, "check that this port speaks TLS"),
    (ConnectionRefusedError, "check that the broker runs and listens on this port"),
    (socket.gaierror, "check the host's name and the resolver"),
    (TimeoutError, "check the route and the firewalls between"),
)


class Client(aiomqtt.Client):
    """aiomqtt's client, made safe for the loop that it shares with other connections.

    Two things go wrong when a connection is reset. The base class puts off the registering of a writer to the loop's
    next turn, when the descriptor may be closed and its number belong to a stranger. And uvloop calls a reader once
    more and then never again: a reader that leaves anything behind does not hear of the reset. So descriptors are
    looked at when they are registered, and a reader reads until nothing is left. Behind a narrow line the keep-alive
    waits while bytes leave: a ping would stand behind them.

    What paho says of a connection in its log is its end's reason here: whoever has the session tells of it, once.
    """

    limits: Mapping[str, Any] = {}
    """What the broker's CONNACK bounds (MQTT 5, 3.2.2.3), by paho's names: ReceiveMaximum, MaximumPacketSize, ..."""

    def __init__(self, *arguments: Any, stopwatch_ns: Clock = time.monotonic_ns, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._steady_ns = stopwatch_ns
        self._client.disable_logger()
        self._client.on_log = self._on_log

    def queued_bytes(self) -> int:
        """Handed over, and not at the broker's TCP."""
        connection = self._client.socket()
        inside = sum(packet["to_process"] for packet in tuple(self._client._out_packet))
        return inside + (unacknowledged(connection.fileno()) if isinstance(connection, socket.socket) else 0)

    @property
    def packet_bytes_max(self) -> int:
        """0: the broker named none."""
        return int(self.limits.get("MaximumPacketSize", 0))

    def hang_up(self) -> None:
        """End the connection now, whatever state it is in, and let go of its socket."""
        connection = self._client.socket()
        if isinstance(connection, socket.socket):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            self._read_all(connection)

    def _on_socket_open(self, client: paho.Client, userdata: Any, sock: Any) -> None:
        def register() -> None:
            if self._is_open(sock):
                self._loop.add_reader(sock.fileno(), self._read_all, sock)
                self._misc_task = self._loop.create_task(self._misc_loop())

        # paho connects in an executor's thread.
        self._loop.call_soon_threadsafe(register)

    def _on_socket_register_write(self, client: paho.Client, userdata: Any, sock: Any) -> None:
        def register() -> None:
            if self._is_open(sock):
                with self._ends_when_it_fails():
                    self._loop.add_writer(sock.fileno(), self._write, sock)

        self._loop.call_soon_threadsafe(register)

    def _on_connect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.ConnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        self.limits = {} if properties is None else vars(properties)
        super()._on_connect(client, userdata, flags, reason_code, properties)

    def _on_disconnect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.DisconnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        """The base class passes over an end before the CONNACK, and waits for its time-out."""
        if not self._connected.done():
            self._connected.set_exception(aiomqtt.MqttError("the connection was closed before the broker answered"))
            self._connected.exception()  # After a time-out nobody waits for it any more.
        super()._on_disconnect(client, userdata, flags, reason_code, properties)

    async def _misc_loop(self) -> None:
        """paho's keep-alive takes a line for dead on which one packet is longer under way than that."""
        before = 0
        while True:
            connection = self._client.socket()
            left = traffic(connection)[0] if isinstance(connection, socket.socket) else 0
            if left != before and self.queued_bytes():
                with self._client._msgtime_mutex:
                    self._client._last_bytes_received = self._client._last_msg_out = self._steady_ns() / NS_PER_S
            before = left
            if self._client.loop_misc() != paho.MQTT_ERR_SUCCESS:
                return
            await asyncio.sleep(LOOK_EVERY_S)

    def _on_log(self, client: paho.Client, userdata: Any, level: int, line: str) -> None:
        """Of a reset paho knows more than it says at the end. What callbacks raise it raises, too."""
        if level != paho.MQTT_LOG_ERR or not line.startswith(RECEIVING):
            return
        is_connected = self._connected.done() and self._connected.exception() is None
        if is_connected and not self._disconnected.done():
            self._disconnected.set_exception(aiomqtt.MqttError(_words(line)))

    def _is_open(self, sock: Any) -> bool:
        """In the loop's thread, where connected sockets are closed: what holds here holds for the next call too."""
        present = self._client.socket()
        return present is not None and present is sock and present.fileno() >= 0

    def _read_all(self, sock: Any) -> None:
        with self._ends_when_it_fails():
            for _ in range(READS_AT_ONCE):
                self._client.loop_read()
                if not self._is_open(sock) or not _is_readable(sock):
                    return
            self._loop.call_soon(self._read_all, sock)

    def _write(self, sock: Any) -> None:
        with self._ends_when_it_fails():
            self._client.loop_write()

    @contextmanager
    def _ends_when_it_fails(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, RuntimeError) as error:
            if not self._disconnected.done():
                self._disconnected.set_exception(error)


def _is_readable(sock: Any) -> bool:
    """Data, the end or an error is there to be read. TLS may hold decoded bytes that the system does not know of."""
    if isinstance(sock, ssl.SSLSocket) and sock.pending() > 0:
        return True
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _words(line: str) -> str:
    """Of `failed to receive on socket: [Errno 104] Connection reset by peer` what the system says."""
    _, _, why = line.partition(": ")
    return re.sub(r"^\[Errno \d+\] ", "", why)


def why_lost(error: aiomqtt.MqttError) -> str:
    """Why a session ended that a message was waited for in."""
    cause = error.__cause__ or error
    if isinstance(cause, aiomqtt.MqttCodeError) and cause.rc == UNSPECIFIED_ERROR:
        return "closed by the other side"
    return str(cause)


async def terms(broker: BrokerAddress, timeout_s: float) -> dict[str, Any]:
    """What a `Client` with a clean session is made with. Raises LinkDown.

    The password and the CA file are read anew for each session, so that they can be exchanged under a running gateway.
    """
    username, password, tls = await asyncio.to_thread(read_secrets, broker)
    return {
        "hostname": broker.host,
        "port": broker.port,
        "username": username,
        "password": password,
        "identifier": broker.client_id,
        "protocol": VERSIONS[broker.version],
        "keepalive": broker.keep_alive_s,
        "timeout": timeout_s,
        "tls_context": tls,
        # Of MQTT 5 aiomqtt's own way: a client's first connection is a clean start.
        **({"clean_session": True} if broker.version is MqttVersion.V311 else {}),
    }


async def enter(client: Client, name: str) -> None:
    """Connect. Raises LinkDown; the socket is let go then."""
    try:
        await client.__aenter__()
    except aiomqtt.MqttError as error:
        client.hang_up()
        raise refused(name, error) from error


async def leave(client: Client, *, says_goodbye: bool = True) -> None:
    """End a session that was entered. A farewell that does not get out is nobody's loss: nobody is there."""
    client.timeout = FAREWELL_S
    try:
        if says_goodbye:
            with suppress(aiomqtt.MqttError, OSError):
                await client.__aexit__(None, None, None)
    finally:
        client.hang_up()


def read_secrets(broker: BrokerAddress) -> tuple[str | None, str | None, ssl.SSLContext | None]:
    """User, password and what TLS needs."""
    try:
        return username_of(broker), password_of(broker), tls_context(broker)
    except CredentialError as error:
        raise LinkDown(str(error), error.remedy) from error


def refused(name: str, error: aiomqtt.MqttError) -> LinkDown:
    if isinstance(error, MqttConnectError):
        return LinkDown(f"{name}: the broker refused us ({error})", "check username, password_file and client_id")
    cause = error.__cause__ or error.__context__ or error
    for kind, remedy in _REMEDIES:
        if isinstance(cause, kind):
            return LinkDown(f"{name}: {words(cause) or error}", remedy)
    return LinkDown(f"{name}: {error}", "check the route to the broker and its log")
