"""What can go wrong with a broker, in words for whoever is on call: what happened, and what to check."""

from __future__ import annotations

import socket
import ssl
from typing import Final

from gateway.protocol.mqtt.codes import MOVED, ProtocolError, connack_text, reason_text
from gateway.settings.credentials import CredentialError
from gateway.settings.schema import BrokerAddress

CONNECT_TIMEOUT_S: Final = 10.0

CLOSED = (
    "the broker closed the connection; see its log (in MQTT 3.1.1 this is also how it looks when another client "
    "connects with the same client_id)"
)


class LinkError(Exception):
    """The connection cannot be made or cannot go on; the text says why, and what to check."""


class Redirected(LinkError):
    """The broker sends us elsewhere; `where` is empty when it does not say."""

    def __init__(self, text: str, code: int, where: str) -> None:
        super().__init__(text)
        self.code = code
        self.where = where


def refusal(code: int, version: int, said: str, where: str) -> LinkError:
    """A CONNACK that says no."""
    return _told("the broker refused the connection", connack_text(code, version), code, said, where)


def farewell(code: int, said: str, where: str) -> LinkError:
    """A DISCONNECT from the broker."""
    return _told("the broker disconnected", reason_text(code), code, said, where)


def _told(what: str, why: str, code: int, said: str, where: str) -> LinkError:
    text = f"{what}: {why}" + (f" ({said})" if said else "")
    if code not in MOVED:
        return LinkError(text)
    return Redirected(f"{text}; it names {where}" if where else f"{text}; it names no other", code, where)


def explain(error: BaseException, broker: BrokerAddress) -> str:
    where = f"{broker.host}:{broker.port}"
    match error:
        case LinkError():
            return str(error)
        case CredentialError():
            return f"{error}; {error.remedy}"
        case ProtocolError():
            return f"{where} does not keep to MQTT: it sent {error}; check that an MQTT broker listens there"
        case ConnectionRefusedError():
            return f"nothing listens on {where}; check that the broker runs, and host and port"
        case socket.gaierror():
            return f"the name {broker.host!r} cannot be resolved; check host and the DNS of this machine"
        case ssl.SSLCertVerificationError():
            return f"the certificate of {where} is not trusted ({error.verify_message}); check ca_file and host"
        case ssl.SSLError():
            why = error.reason or str(error)
            if "ALERT" in why.upper():
                return f"{where} refused us in TLS ({why}); check cert_file and key_file, and whom the broker trusts"
            return f"TLS with {where} failed ({why}); check that this port speaks TLS"
        case TimeoutError():
            return f"{where} does not answer within {CONNECT_TIMEOUT_S:.0f} s; check network and firewall"
        case _:
            return f"the connection to {where} failed ({error}); check the network and the broker's log"
