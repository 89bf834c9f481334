"""The wire protocol noex/1 in Python, written from docs/wire.md and docs/wire.cddl alone: bytes in, bytes out, no sockets.

It says what is right, in as few lines as that takes. It limits less than a node in use has to.
"""

import hashlib
import hmac
import struct

# --- 2. Framing ---------------------------------------------------------------------------------------------------------------

HANDSHAKE_FRAME = 1024
RECORD = 64 * 1024 + 64
TAG = 16
PIECE = 64 * 1024


class Fault(Exception):
    """The other side broke the protocol."""


class Rejected(Exception):
    """The other side said REJECT, with this code."""


def prefixed(frame):
    return struct.pack(">I", len(frame)) + frame


class Reader:
    """Takes fields off the front of some bytes."""

    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, size):
        if self.at + size > len(self.data):
            raise Fault("bytes are missing")
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, size):
        return int.from_bytes(self.take(size), "big")

    def field(self):
        return self.take(self.number(2))

    def end(self):
        if self.at != len(self.data):
            raise Fault("bytes are left over")


# --- 3. Handshake -------------------------------------------------------------------------------------------------------------

MAGIC = b"NOEX"
VERSION = 1
HELLO, CHALLENGE, AUTH, AUTH_OK, REJECT = range(1, 6)


class Announcement:
    """What each side says of itself in its first frame."""

    def __init__(self, identity, instance, nonce, interval, secret, caps=0):
        self.identity = identity
        self.instance = instance
        self.nonce = nonce
        self.interval = interval
        self.flags = 1 if secret else 0
        self.caps = caps

    def fields(self):
        numbers = struct.pack(">QI", self.caps, self.interval)
        return self.nonce + self.instance + numbers + field(self.identity.encode())

    @classmethod
    def read(cls, reader, flags):
        nonce, instance, caps, interval = reader.take(32), reader.take(16), reader.number(8), reader.number(4)
        identity = reader.field().decode()
        if flags & ~1:
            raise Fault("reserved flags")
        if not 100 <= interval <= 600_000:
            raise Fault("interval")
        return cls(identity, instance, nonce, interval, flags & 1, caps)


def field(data):
    return struct.pack(">H", len(data)) + data


def hello(own, target, versions=(VERSION, VERSION)):
    return bytes([HELLO]) + MAGIC + bytes([*versions, own.flags, 0]) + own.fields() + field(target.encode()) + field(b"")


def read_hello(frame):
    """The initiator's announcement and the identity that it wants."""
    reader = Reader(frame)
    if reader.number(1) != HELLO or reader.take(4) != MAGIC:
        raise Fault("no HELLO")
    low, high = reader.number(1), reader.number(1)
    if not low <= VERSION <= high:
        raise Fault("version")
    flags, zero = reader.number(1), reader.number(1)
    peer = Announcement.read(reader, flags)
    target, extension = reader.field().decode(), reader.field()
    reader.end()
    if zero or len(extension) > 256:
        raise Fault("HELLO")
    return peer, target


def challenge(own):
    return bytes([CHALLENGE]) + MAGIC + bytes([VERSION, VERSION, VERSION, own.flags]) + own.fields() + field(b"")


def read_challenge(frame):
    if frame[:1] == bytes([REJECT]):
        raise Rejected(read_reject(frame))
    reader = Reader(frame)
    if reader.number(1) != CHALLENGE or reader.take(4) != MAGIC:
        raise Fault("no CHALLENGE")
    version, low, high, flags = (reader.number(1) for _ in range(4))
    if version != VERSION or not low <= VERSION <= high:
        raise Fault("version")
    peer = Announcement.read(reader, flags)
    extension = reader.field()
    reader.end()
    if len(extension) > 256:
        raise Fault("CHALLENGE")
    return peer


def auth(proof):
    return bytes([AUTH]) + proof


def auth_ok(proof):
    return bytes([AUTH_OK, 0]) + proof


def read_auth(frame):
    if len(frame) != 33 or frame[0] != AUTH:
        raise Fault("no AUTH")
    return frame[1:]


def read_auth_ok(frame):
    if frame[:1] == bytes([REJECT]):
        raise Rejected(read_reject(frame))
    if len(frame) != 34 or frame[:2] != bytes([AUTH_OK, 0]):
        raise Fault("no AUTH_OK")
    return frame[2:]


def reject(code):
    return bytes([REJECT, code])


def read_reject(frame):
    if len(frame) != 2:
        raise Fault("REJECT")
    return frame[1]


# --- 4. Keys ------------------------------------------------------------------------------------------------------------------


def mac(key, message):
    return hmac.digest(key, message, "sha256")


def root(secret):
    return mac(b"noex/1 psk", secret or b"noex/1 open")


def transcript(cluster, hello, challenge):
    return hashlib.sha256(b"noex/1 transcript\0" + prefixed(cluster.encode()) + prefixed(hello) + prefixed(challenge)).digest()


class Keys:
    """The keys of a session, and the proofs made with them."""

    def __init__(self, root, th):
        prk = mac(root, b"noex/1 session\0" + th)
        self.auth = mac(mac(prk, b"noex/1 auth i\x01"), b"noex/1 AUTH\0" + th)
        self.auth_ok = mac(mac(prk, b"noex/1 auth r\x01"), b"noex/1 AUTH_OK\0" + th + b"\0")
        self.from_initiator = mac(prk, b"noex/1 data i>r\x01")
        self.from_responder = mac(prk, b"noex/1 data r>i\x01")


# --- 5. Records ---------------------------------------------------------------------------------------------------------------


class Direction:
    """One direction of a session: makes its records, or opens them."""

    def __init__(self, key):
        self.key = key
        self.sequence = 0

    def tag(self, length, messages):
        tag = mac(self.key, struct.pack(">QI", self.sequence, length) + messages)[:TAG]
        self.sequence += 1
        return tag

    def seal(self, messages):
        """One record of these messages, each a type and a body."""
        data = b"".join(bytes([kind]) + prefixed(body) for kind, body in messages)
        length = len(data) + TAG
        return prefixed(data + self.tag(length, data))

    def open(self, record):
        """The messages of a record without its length prefix."""
        data, tag = record[:-TAG], record[-TAG:]
        if not hmac.compare_digest(tag, self.tag(len(record), data)):
            raise Fault("tag")
        reader = Reader(data)
        messages = []
        while not messages or reader.at < len(data):
            kind, size = reader.number(1), reader.number(4)
            messages.append((kind, reader.take(size)))
        return messages


# --- 6. Messages --------------------------------------------------------------------------------------------------------------

HEARTBEAT, MEMBERS, MEMBERS_REQUEST, PING, PONG, OFFER, INTRO = range(0x10, 0x17)
REFUSED, GOODBYE, PAYLOAD, SIGNAL = 0x1D, 0x1F, 0x20, 0x21
# Set on every piece but the last.
MORE = 0x80

CONFLICT, SELF, LEAVING, LIMIT, NOT_ADMITTED, DUPLICATE, LOOPBACK = range(1, 8)


def view_digest(nodes):
    """Of (identity, instance) of the node itself and every node it has a session up with."""
    hashes = (hashlib.sha256(instance + identity.encode()).digest() for identity, instance in nodes)
    return sum(int.from_bytes(one[:8], "big") for one in hashes) % 2**64


def pieces(payload, kind=PAYLOAD):
    """The messages that carry a payload, or a signal."""
    cut = [payload[at : at + PIECE] for at in range(0, len(payload), PIECE)] or [b""]
    return [(kind | MORE, piece) for piece in cut[:-1]] + [(kind, cut[-1])]


def encode(value):
    """CBOR, in its shortest form."""
    if value is True or value is False:
        return b"\xf5" if value else b"\xf4"
    if isinstance(value, int):
        return head(0, value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    if isinstance(value, (list, tuple)):
        return head(4, len(value)) + b"".join(map(encode, value))
    return head(5, len(value)) + b"".join(encode(key) + encode(value[key]) for key in value)


def head(major, number):
    if number < 24:
        return bytes([major << 5 | number])
    size = next(size for size in range(4) if number < 256 ** (1 << size))
    return bytes([major << 5 | 24 + size]) + number.to_bytes(1 << size, "big")


def decode(body):
    """The value of a body: definite lengths only, which is all that a sender may use."""
    reader = Reader(body)
    value = item(reader, 16)
    reader.end()
    return value


def item(reader, depth):
    first = reader.number(1)
    major, info = first >> 5, first & 31
    if info > 27 or (depth == 0 and major in (4, 5)):
        raise Fault("CBOR")
    if major == 7:
        if info not in (20, 21):
            raise Fault("CBOR")
        return info == 21
    number = info if info < 24 else reader.number(1 << (info - 24))
    if major == 0:
        return number
    if major == 2:
        return reader.take(number)
    if major == 3:
        return reader.take(number).decode()
    if major == 4:
        return [item(reader, depth - 1) for _ in range(number)]
    if major == 5:
        pairs = [(item(reader, depth - 1), item(reader, depth - 1)) for _ in range(number)]
        if len(dict(pairs)) != number:
            raise Fault("a key is there twice")
        return dict(pairs)
    raise Fault("CBOR")


# --- 10. Processes ------------------------------------------------------------------------------------------------------------

# The capability.
PROCESSES = 1

CAST, CALL, ANSWER, FAILURE, CANCEL, MONITOR, DEMONITOR, DOWN, STOP = range(9)
# How many items each has.
ITEMS = [3, 5, 2, 4, 2, 3, 2, 4, 4]

NO_PROCESS, BUSY, WRONG_PROTOCOL, NOT_UNDERSTOOD, DROPPED, ANSWER_DROPPED, EXITED = range(7)
NORMAL, SHUTDOWN, ERROR, NOT_THERE = range(4)


def protocol(name):
    """The number that stands for a protocol."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")


def signal(*items, body=b""):
    return encode(items) + body


def read_signal(data):
    """The items of a signal, the first of which says what it is, and its body."""
    reader = Reader(data)
    items = item(reader, 1)
    body = data[reader.at :]
    if not isinstance(items, list) or not items or items[0] not in range(len(ITEMS)) or len(items) != ITEMS[items[0]]:
        raise Fault("signal")
    if body and items[0] not in (CAST, CALL, ANSWER):
        raise Fault("bytes are left over")
    return items, body


class Numbers:
    """The numbers of calls, or of monitors, that one side of a session asks for."""

    def __init__(self):
        self.turns = {}
        self.open = set()

    def take(self):
        place = next(place for place in range(2**16) if place not in self.open)
        self.open.add(place)
        self.turns[place] = self.turns.get(place, 0) + 1
        return self.turns[place] << 16 | place

    def free(self, number):
        self.open.discard(number & 0xFFFF)
