"""What the API says of a device's tags seen together."""

from __future__ import annotations

import msgspec


class Contributor(msgspec.Struct, frozen=True, kw_only=True):
    """A tag, by its name within the device, and its part of what is off."""

    tag: str
    share: float


class MultivariateStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The score of a device's tags seen together; null while it is learned, then with those that explain it best."""

    score: float | None
    score_once_h: float | None
    contributors: tuple[Contributor, ...]
