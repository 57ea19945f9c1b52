"""Sans-I/O codecs: bytes in, values out; no sockets and no clock."""
