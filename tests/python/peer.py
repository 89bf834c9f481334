"""A node of a noex cluster in Python, on blocking sockets: one session at a time, for tests. Written from docs/wire.md alone."""

import os
import socket
import time

import wire
from wire import Fault

# How long to wait for anything.
PATIENCE = 20.0


class Closed(Exception):
    """The other side closed the connection."""


class Peer:
    """An identity, with what it has to remember between its sessions."""

    def __init__(self, name, secret=None, cluster="noex", interval=500, instance=None, processes=0):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.identity = f"{name}@127.0.0.1:{self.listener.getsockname()[1]}"
        self.instance = instance or os.urandom(16)
        self.secret = secret and secret.encode()
        self.cluster = cluster
        self.interval = interval
        self.processes = processes
        self.started = time.monotonic()
        # The admission count, and what it was when a session with an instance of a peer was last admitted; the last count of that peer.
        self.count = 0
        self.admitted = {}
        self.accepted = {}
        # Sessions that are up, by the identity at their other end.
        self.sessions = {}

    def view(self):
        """(identity, instance) of this node and all that are up."""
        others = [(one.peer.identity, one.peer.instance) for one in self.sessions.values()]
        return [(self.identity, self.instance), *others]

    def digest(self):
        return wire.view_digest(self.view())

    def uptime(self):
        return int((time.monotonic() - self.started) * 1000)

    def announcement(self):
        return wire.Announcement(self.identity, self.instance, os.urandom(32), self.interval, self.secret, wire.PROCESSES)

    def dial(self, identity, target=None, versions=(wire.VERSION, wire.VERSION)):
        """A session with the node at that address, after the handshake."""
        host, port = identity.split("@")[1].rsplit(":", 1)
        return self.over(socket.create_connection((host, int(port)), PATIENCE), identity if target is None else target, versions)

    def over(self, connection, target, versions=(wire.VERSION, wire.VERSION)):
        link = Link(connection)
        own = self.announcement()
        hello = wire.hello(own, target, versions)
        link.send(hello)
        challenge = link.frame(wire.HANDSHAKE_FRAME)
        peer = wire.read_challenge(challenge)
        self.check(own, peer)
        if target not in ("", peer.identity):
            raise Fault("another node than was dialled")
        keys = wire.Keys(wire.root(self.secret), wire.transcript(self.cluster, hello, challenge))
        link.send(wire.auth(keys.auth))
        if wire.read_auth_ok(link.frame(wire.HANDSHAKE_FRAME)) != keys.auth_ok:
            raise Fault("AUTH_OK")
        return Session(self, link, peer, keys.from_initiator, keys.from_responder)

    def accept(self):
        """The first of those that dial who gets through the handshake, and whom it wanted."""
        self.listener.settimeout(PATIENCE)
        connection, _ = self.listener.accept()
        connection.settimeout(PATIENCE)
        link = Link(connection)
        own = self.announcement()
        hello = link.frame(wire.HANDSHAKE_FRAME)
        peer, target = wire.read_hello(hello)
        self.check(own, peer)
        if target not in ("", self.identity):
            raise Fault("another node is wanted")
        challenge = wire.challenge(own)
        link.send(challenge)
        keys = wire.Keys(wire.root(self.secret), wire.transcript(self.cluster, hello, challenge))
        if wire.read_auth(link.frame(wire.HANDSHAKE_FRAME)) != keys.auth:
            link.send(wire.reject(6))
            raise Fault("AUTH")
        link.send(wire.auth_ok(keys.auth_ok))
        return Session(self, link, peer, keys.from_responder, keys.from_initiator), target

    def check(self, own, peer):
        if peer.flags != own.flags:
            raise Fault("policy")
        if peer.nonce == own.nonce:
            raise Fault("reflection")


class Link:
    """Frames on a connection."""

    def __init__(self, connection):
        self.connection = connection
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""

    def send(self, frame):
        self.connection.sendall(wire.prefixed(frame))

    def frame(self, limit, deadline=None):
        """The next frame, without its length; a TimeoutError at the deadline, and nothing is lost by that."""
        while True:
            if len(self.received) >= 4:
                length = int.from_bytes(self.received[:4], "big")
                if not 0 < length <= limit:
                    raise Fault("length")
                if len(self.received) >= 4 + length:
                    frame, self.received = self.received[4 : 4 + length], self.received[4 + length :]
                    return frame
            left = PATIENCE if deadline is None else deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self.connection.settimeout(left)
            try:
                data = self.connection.recv(65536)
            except ConnectionError as error:
                raise Closed from error
            if not data:
                raise Closed
            self.received += data


class Session:
    """A connection whose handshake is done. It sends heartbeats and answers the other side while it waits for something."""

    def __init__(self, own, link, peer, sending, receiving):
        self.own = own
        self.link = link
        self.peer = peer
        self.sending = wire.Direction(sending)
        self.receiving = wire.Direction(receiving)
        self.lesser = own.identity.encode() < peer.identity.encode()
        self.unread = []
        # The pieces so far of a large message, and their type.
        self.collected = b""
        self.collecting = None
        self.calls = wire.Numbers()
        self.monitors = wire.Numbers()
        self.kinds = []
        self.answering = True
        self.next_heartbeat = time.monotonic() + own.interval / 1000

    def send(self, *messages):
        self.link.connection.settimeout(PATIENCE)
        self.link.connection.sendall(self.sending.seal(messages))

    def control(self, kind, value):
        self.send((kind, wire.encode(value)))

    def heartbeat(self):
        self.control(wire.HEARTBEAT, [self.own.processes, self.own.uptime(), self.own.digest()])
        self.next_heartbeat = time.monotonic() + self.own.interval / 1000

    def message(self, deadline):
        """The next message, decoded; payloads are put together first. Heartbeats go out meanwhile."""
        while not self.unread:
            up = self.own.sessions.get(self.peer.identity) is self
            try:
                record = self.link.frame(wire.RECORD, min(deadline, self.next_heartbeat) if up else deadline)
                self.unread = self.receiving.open(record)
            except TimeoutError:
                if time.monotonic() >= deadline:
                    raise
                self.heartbeat()
        kind, body = self.unread.pop(0)
        self.kinds.append(kind)
        if kind & wire.MORE:
            if self.collecting not in (None, kind):
                raise Fault("a piece among those of another message")
            self.collecting = kind
            self.collected += body
            return kind, body
        if kind in (wire.PAYLOAD, wire.SIGNAL):
            if self.collecting not in (None, kind | wire.MORE):
                raise Fault("a message among the pieces of another")
            whole, self.collected, self.collecting = self.collected + body, b"", None
            return kind, whole if kind == wire.PAYLOAD else wire.read_signal(whole)
        return kind, wire.decode(body)

    def wait_for(self, wanted, fits=lambda _: True):
        """The value of the next message of this type that fits."""
        deadline = time.monotonic() + PATIENCE
        while True:
            kind, value = self.message(deadline)
            if kind == wanted and fits(value):
                return value
            if kind == wire.PING and self.answering:
                self.control(wire.PONG, [value[0], False])
            elif kind == wire.MEMBERS_REQUEST and self.answering:
                self.members(value["d"], self.own.view())

    def members(self, asked, members):
        """Answers a request: with nothing where the views agree."""
        digest = self.own.digest()
        listed = [] if asked == digest else [[identity, instance] for identity, instance in members]
        self.control(wire.MEMBERS, {"d": digest, "l": True, "m": listed})

    def signal(self, *items, body=b""):
        for piece in wire.pieces(wire.signal(*items, body=body), wire.SIGNAL):
            self.send(piece)

    def wait_for_signal(self, kind, number=None):
        """The items behind the kind, and the body, of the next such signal, of this number where one is given."""
        fits = lambda signal: signal[0][0] == kind and number in (None, signal[0][1])
        items, body = self.wait_for(wire.SIGNAL, fits)
        return items[1:], body

    def call(self, to, protocol, body, left=5000):
        """Asks a process, and gives the number of the call."""
        number = self.calls.take()
        self.signal(wire.CALL, number, to, wire.protocol(protocol), left, body=body)
        return number

    def outcome(self, number):
        """The body of the answer to a call, or the code and the text of its failure."""
        of = lambda signal: signal[0][0] in (wire.ANSWER, wire.FAILURE) and signal[0][1] == number
        items, body = self.wait_for(wire.SIGNAL, of)
        self.calls.free(number)
        return body if items[0] == wire.ANSWER else tuple(items[2:])

    def cancel(self, number):
        self.signal(wire.CANCEL, number)
        self.calls.free(number)

    def monitor(self, to):
        number = self.monitors.take()
        self.signal(wire.MONITOR, number, to)
        return number

    def down(self, number):
        """Why the process ended that is watched under this number."""
        (_, reason, text), _ = self.wait_for_signal(wire.DOWN, number)
        self.monitors.free(number)
        return reason, text

    def admit(self):
        """Admission by the rules of section 7, in which no older session of the same peer is in use. Gives the peer's INTRO."""
        own, of = self.own, (self.peer.identity, self.peer.instance)
        if self.lesser:
            self.offer(own.admitted.get(of, 0), self.peer.identity in own.sessions)
            intro = self.wait_for(wire.INTRO)
            if intro["c"] <= own.accepted.get(of, 0):
                raise Fault("stale")
            self.introduce()
        else:
            self.wait_for(wire.OFFER)
            self.introduce()
            intro = self.wait_for(wire.INTRO)
        own.accepted[of] = intro["c"]
        own.sessions[self.peer.identity] = self
        return intro

    def offer(self, n, holds):
        self.control(wire.OFFER, [n, holds])

    def introduce(self):
        own = self.own
        own.count += 1
        own.admitted[self.peer.identity, self.peer.instance] = own.count
        value = {"c": own.count, "d": own.digest(), "m": len(own.view()), "p": own.processes, "u": own.uptime()}
        self.control(wire.INTRO, value)

    def leave(self):
        """GOODBYE, then reading to the end."""
        self.control(wire.GOODBYE, {})
        self.link.connection.shutdown(socket.SHUT_WR)
        self.drain()

    def drain(self):
        self.own.sessions.pop(self.peer.identity, None)
        deadline = time.monotonic() + PATIENCE
        try:
            while True:
                self.message(deadline)
        except Closed:
            self.link.connection.close()

    def closed(self):
        """Whether the other side has closed, at the latest when patience ends; what it still says is of no interest."""
        deadline = time.monotonic() + PATIENCE
        try:
            while True:
                self.message(deadline)
        except Closed:
            return True
        except TimeoutError:
            return False
