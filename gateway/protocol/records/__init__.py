"""Records in the encodings that an uplink may ask for: JSON, MessagePack, Protocol Buffers, Arrow IPC.

The spool keeps JSON bodies (`gateway.core.encode`), the one canonical form. What an uplink sends is made of it at
sending, and a record gives the same bytes each time, so a resend is what the first attempt was. All encodings say the
same: decoded, a record is the object that its JSON is.
"""
