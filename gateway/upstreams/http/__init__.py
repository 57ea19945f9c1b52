"""HTTP as an upstream: one POST a record, on one connection, in order; HTTP/1.1 by h11, which uvicorn brings along.

As JSON, or in the uplink's encoding, a record goes as it is, with an `Idempotency-Key` that is its identity
(draft-ietf-httpapi-idempotency-key-header): a server that keeps the keys with the data, in one transaction, holds each
record once. With `position` the server is asked at connect what it holds, and those records are not sent again:

    {"held": [{"stream": "samples", "segment": 70, "sequence": 41}]}     all up to 41 of that segment

As line protocol (`gateway.protocol.lineprotocol`) a record that is sent again takes its own place, by what a point is.
Records of a stream that wait meanwhile go in one request; should it be refused, each goes alone, so that one does not
condemn others.

    2xx                          accepted
    400, 413, 422                about the record: refused for ever, with what the server says
    401, 403, 407                the log-in; the record waits
    408, 425, 429, 5xx, 409      later; Retry-After is heeded. 409: the server is busy with this very record
    others                       the address or the set-up: the record waits, the address is named

A connection that the server closed while nothing was under way is made anew without a word; one that breaks or is
silent under a record ends the session, and the record is sent again: the key makes that safe. Silent is where nothing
moves (`gateway.upstreams.http.connection`), so a narrow line is not.
"""

from gateway.upstreams.http.session import connect as connect
from gateway.upstreams.http.session import positions as positions
