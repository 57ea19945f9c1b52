"""What is told of an error of the system: its words, without number and address."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl

import pytest

from gateway.native.errors import words
from hil.ports import free_port


def test_a_refused_connection_has_the_same_words_from_whomever() -> None:
    port = free_port()
    with pytest.raises(ConnectionRefusedError) as plain:
        socket.create_connection(("127.0.0.1", port), timeout=5)
    with pytest.raises(ConnectionRefusedError) as by_loop:
        asyncio.run(asyncio.open_connection("127.0.0.1", port))
    assert str(by_loop.value) != words(by_loop.value)
    assert words(plain.value) == words(by_loop.value) == "Connection refused"


def test_who_has_words_of_its_own_keeps_them() -> None:
    with pytest.raises(socket.gaierror) as unknown:
        socket.getaddrinfo("no-such-host.invalid", 1)
    assert words(unknown.value) == unknown.value.strerror
    with pytest.raises(ssl.SSLError) as broken:
        ssl.create_default_context().load_verify_locations(cadata="nothing")
    assert words(broken.value) == str(broken.value)
    assert words(TimeoutError()) == ""
    assert words(TimeoutError(errno.ETIMEDOUT, "")) == "Connection timed out"
