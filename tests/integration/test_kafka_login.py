"""Kafka over TLS and with a log-in: what reaches the cluster, and what is said where it may not.

The front (`tests.support.kafka_door`) speaks TLS by OpenSSL and SASL by the RFCs; behind it is the server that the
other tests of Kafka have. Apache Kafka itself is not seen here.
"""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop

from gateway.core.ports import LinkDown, Verdict
from gateway.core.types import NS_PER_S
from gateway.settings.schema_uplink import Sasl
from tests.integration.test_kafka_upstream import BYTES_MAX, SAMPLES, record
from tests.support.certificates import Authority
from tests.support.kafka_door import Door
from tests.support.kafka_ends import Cluster, session

USERS = {"boiler-house": "geheim"}


class Front:
    """A cluster behind a door."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        self.folder = folder
        self.cluster = cluster

    def authority(self, name: str = "plant-ca") -> Authority:
        return Authority(self.folder, name)

    def tls(self, authority: Authority, *, wants_certificate: bool = False) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.issue("broker"))
        if wants_certificate:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(authority.certificate)
        return context

    async def deliver(self, door: Door, **more: Any) -> list[int]:
        """Numbers of the records that the cluster has after a session that sent one."""
        async with session(door.port, timeout_ns=5 * NS_PER_S, **more) as upstream:
            assert await upstream.send(*record(1)) is Verdict.ACCEPTED
        seen = await asyncio.to_thread(self.cluster.committed, SAMPLES)
        return [msgspec.json.decode(each.value)["number"] for each in seen]

    async def refused(self, door: Door, **more: Any) -> LinkDown:
        with pytest.raises(LinkDown) as caught:
            await self.deliver(door, **more)
        return caught.value


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Callable[[Front], Awaitable[None]]], None]:
    def whole(scenario: Callable[[Front], Awaitable[None]]) -> None:
        cluster = Cluster(tmp_path, BYTES_MAX)
        cluster.start()
        try:
            uvloop.run(scenario(Front(tmp_path, cluster)))  # type: ignore[arg-type]
        finally:
            cluster.server.kill()

    return whole


async def opened(front: Front, **more: Any) -> Door:
    door = Door(front.cluster.port, **more)
    await door.start()
    return door


@pytest.mark.parametrize("is_encrypted", [False, True], ids=["plain key", "key with a password"])
def test_over_tls_records_arrive_and_the_certificate_is_the_gateways(
    play: Any, tmp_path: Path, is_encrypted: bool
) -> None:
    async def scenario(front: Front) -> None:
        authority = front.authority()
        certificate, key = authority.issue("gateway")
        door = await opened(front, tls=front.tls(authority, wants_certificate=True))
        own = {"tls": True, "ca_file": authority.certificate, "cert_file": certificate, "key_file": key}
        if is_encrypted:
            secret, locked = tmp_path / "secret", tmp_path / "locked.key"
            secret.write_text("sesam\n")
            lock = ["openssl", "pkey", "-in", key, "-aes256", "-passout", f"file:{secret}", "-out", locked]
            subprocess.run(lock, check=True, capture_output=True, timeout=30)
            own |= {"key_file": locked, "key_password_file": secret}
        assert await front.deliver(door, **own) == [1]
        assert len(door.certificates) > 1
        assert all((("commonName", "gateway"),) in each["subject"] for each in door.certificates)
        await door.stop()

    play(scenario)


@pytest.mark.parametrize("what", ["another authority", "another name", "no certificate of ours", "no TLS there"])
def test_a_tls_that_does_not_come_about_is_told_with_whose_it_is(play: Any, what: str) -> None:
    async def scenario(front: Front) -> None:
        authority = front.authority()
        more: dict[str, Any] = {"tls": True, "ca_file": authority.certificate}
        tls: ssl.SSLContext | None = front.tls(authority, wants_certificate=what == "no certificate of ours")
        if what == "another authority":
            more["ca_file"] = front.authority("other-ca").certificate
        if what == "no TLS there":
            tls = None
        door = await opened(front, tls=tls)
        if what == "another name":
            more["servers"] = (f"localhost:{door.port}",)
        down = await front.refused(door, **more)
        assert "kafkas://" in down.reason
        assert ("cert_file" if what == "no certificate of ours" else "ca_file") in down.remedy
        said = {
            "no certificate of ours": ("closed by peer",),
            # Either it reads what is no TLS, or the other end has hung up before.
            "no TLS there": ("connecting to a PLAINTEXT broker listener?", "closed by peer"),
        }
        assert any(word in down.reason for word in said.get(what, ("certificate verify failed",))), down.reason
        await door.stop()

    play(scenario)


@pytest.mark.parametrize("mechanism", list(Sasl))
@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])
def test_a_log_in_reaches_the_cluster_by_each_mechanism(
    play: Any, tmp_path: Path, mechanism: Sasl, is_tls: bool
) -> None:
    async def scenario(front: Front) -> None:
        secret = tmp_path / "secret"
        secret.write_text("geheim\n")
        own: dict[str, Any] = {"username": "boiler-house", "password_file": secret, "sasl": mechanism}
        tls = None
        if is_tls:
            authority = front.authority()
            tls = front.tls(authority)
            own |= {"tls": True, "ca_file": authority.certificate}
        door = await opened(front, tls=tls, users=USERS)
        assert await front.deliver(door, **own) == [1]
        assert set(door.logged_in) == {(mechanism.value.upper(), "boiler-house")}
        await door.stop()

    play(scenario)


@pytest.mark.parametrize("mechanism", list(Sasl))
@pytest.mark.parametrize("wrong", ["password", "user"])
def test_a_log_in_that_is_refused_says_so_and_what_to_look_at(
    play: Any, tmp_path: Path, mechanism: Sasl, wrong: str
) -> None:
    async def scenario(front: Front) -> None:
        secret = tmp_path / "secret"
        secret.write_text("verraten" if wrong == "password" else "geheim")
        user = "stranger" if wrong == "user" else "boiler-house"
        door = await opened(front, users=USERS)
        down = await front.refused(door, username=user, password_file=secret, sasl=mechanism)
        assert "uthentication failed" in down.reason
        assert down.remedy == "check username, password_file and sasl"
        assert door.logged_in == []
        await door.stop()

    play(scenario)
