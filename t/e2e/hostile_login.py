#!/usr/bin/env python3
"""A login stage that somebody has taken over: speaks master's and authd's protocol, and tries everything. Stands in for pop3d;
writes what came of it to $0.MODE.results, where $0.mode
says which attack it is."""
import array
import hashlib
import json
import os
import select
import socket
import struct
import sys

REAL = "/usr/libexec/veredus/pop3d"
if sys.argv[1:] == ["--session"]:
    os.execv(REAL, [REAL, "--session"])

HELLO, LISTENER, BEGIN, READY, NEIGHBOUR, WORKER, PING, STOP, TICKET, ENTER = 1, 2, 3, 4, 6, 7, 10, 9, 16, 17
AUTH_BEGIN, AUTH_STEP, AUTH_CANCEL = 600, 601, 602
control = socket.socket(fileno=3)
results = {}
HERE = os.path.abspath(sys.argv[0])


def text(value):
    value = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<I", len(value)) + value


def send(channel, kind, body=b"", request=0, fds=(), answer=False):
    head = struct.pack("<HHII", 1, kind | (0x8000 if answer else 0), request, 0)
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    channel.sendmsg([head + body], ancillary)


def receive(channel):
    data, ancillary, _, _ = channel.recvmsg(65536, socket.CMSG_SPACE(16))
    if not data:
        sys.exit(0)
    fds = array.array("i")
    for level, kind, bytes_ in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(bytes_[:len(bytes_) // 4 * 4])
    _, kind, request, _ = struct.unpack("<HHII", data[:12])
    return kind & 0x7FFF, bool(kind & 0x8000), request, data[12:], list(fds)


def master_says(kind, request, body):
    if kind == PING:
        send(control, PING, b"\0" + text(""), request, answer=True)
    if kind == STOP:
        sys.exit(0)


next_request = 0


def call(channel, kind, body, fds=()):
    global next_request
    next_request += 1
    send(channel, kind, body, next_request, fds)
    while True:
        got, answer, request, reply, descriptors = receive(channel)
        if answer and request == next_request:
            return reply, descriptors
        if channel is control:
            master_says(got, request, reply)


class Reader:
    def __init__(self, data):
        self.data = data

    def take(self, form):
        size = struct.calcsize("<" + form)
        (value,), self.data = struct.unpack("<" + form, self.data[:size]), self.data[size:]
        return value

    def text(self):
        size = self.take("I")
        value, self.data = self.data[:size], self.data[size:]
        return value


def login(authd, user, password, connection, mechanism="PLAIN", initial=None):
    """(kind, data, ticket, whole answer); kind: 1 challenge, 2 ok, 3 failed."""
    initial = initial if initial is not None else b"\0" + user.encode() + b"\0" + password.encode()
    body = text(mechanism) + b"\1" + text(initial) + text("pop3") + text("192.0.2.7") + b"\1\0" + text("") + text("") + struct.pack("<QQ", connection, 0)
    reply, _ = call(authd, AUTH_BEGIN, body)
    r = Reader(reply)
    kind, _, data = r.take("B"), r.take("Q"), r.text()
    r.text(), r.text(), r.take("B")
    return kind, data, r.text(), reply


def enter(ticket, connection, user="bob"):
    """(code, our end of the client's connection)."""
    ours, theirs = socket.socketpair()
    body = text(ticket) + struct.pack("<Q", connection) + b"".join(map(text, ("imap", user, user, "PLAIN", "127.0.0.1", "127.0.0.1")))
    body += struct.pack("<HH", 1, 110) + b"".join(map(text, ("", "x", "", "STAT\r\nQUIT\r\n")))
    reply, _ = call(control, ENTER, body, [theirs.fileno()])
    theirs.close()
    return reply[0], ours


def leave(name, text):
    """For the others: whole, or not there."""
    path = f"{HERE}.{name}"
    with open(path + ".new", "w") as f:
        f.write(text)
    os.rename(path + ".new", path)


def find(name):
    path = f"{HERE}.{name}"
    while not os.path.exists(path):
        if select.select([control], [], [], 0.05)[0]:
            kind, _, request, body, _ = receive(control)
            master_says(kind, request, body)
    with open(path) as f:
        return f.read()


def begin(authd, mechanism, initial, connection):
    """(kind, exchange, data, ticket, whole answer)"""
    body = text(mechanism) + (b"\0" if initial is None else b"\1") + text(initial or b"") + text("pop3") + text("192.0.2.7") + b"\1\0" + text("") + text("")
    return reply_of(call(authd, AUTH_BEGIN, body + struct.pack("<QQ", connection, 0))[0])


def step(authd, exchange, response):
    return reply_of(call(authd, AUTH_STEP, struct.pack("<Q", exchange) + text(response) + struct.pack("<Q", 0))[0])


def reply_of(answer):
    r = Reader(answer)
    kind, exchange, data = r.take("B"), r.take("Q"), r.text()
    r.text(), r.text(), r.take("B")
    return kind, exchange, data, r.text(), answer


def attack_apop():
    """carol's clients answer what they are shown: digest() is one of them, which the stage may show any timestamp."""
    def digest(timestamp):
        return b"carol " + hashlib.md5(timestamp + b"carol word").hexdigest().encode()
    _, fds = call(control, NEIGHBOUR, text("authd") + struct.pack("<I", 0))
    authd = socket.socket(fileno=fds[0])
    seen = b""
    kind, exchange, stamp, _, answer = begin(authd, "APOP", None, 21)
    results["timestamp"] = [kind, stamp.startswith(b"<") and stamp.endswith(b">")]
    seen += answer
    kind, _, _, ticket, answer = step(authd, exchange, digest(b"<1896.697170952@veredus>"))
    results["a timestamp of its own"] = [kind, len(ticket)]
    seen += answer
    kind, _, _, ticket, answer = begin(authd, "APOP", digest(stamp), 21)
    results["before there is one"] = [kind, len(ticket)]
    seen += answer
    kind, exchange, stamp, _, _ = begin(authd, "APOP", None, 22)
    heard = digest(stamp)
    kind, _, _, ticket, answer = step(authd, exchange, heard)
    results["the client's own"] = [kind, len(ticket)]
    seen += answer
    kind, _, _, again, _ = step(authd, exchange, heard)
    results["a second time"] = [kind, len(again)]
    kind, exchange, _, _, _ = begin(authd, "APOP", None, 23)
    kind, _, _, again, _ = step(authd, exchange, heard)
    results["with another timestamp"] = [kind, len(again)]
    results["for another client"] = enter(ticket, 23)[0]
    kind, exchange, stamp, _, _ = begin(authd, "APOP", None, 0)
    kind, _, _, again, _ = step(authd, exchange, digest(stamp))
    results["for no client"] = [kind, len(again)]
    results["seen"] = seen.hex()


def attack():
    for role in ("router", "resolver", "qmgr", "lockd", "local", "worker", "pop3-session", "smtpd", "master"):
        reply, fds = call(control, NEIGHBOUR, text(role) + struct.pack("<I", 0))
        results[f"neighbour {role}"] = [reply[0], len(fds)]
    reply, fds = call(control, WORKER, text("alice"))
    results["worker"] = [reply[0], len(fds)]
    made_up = os.urandom(16)
    reply, _ = call(control, TICKET, text(made_up) + text("pop3d") + struct.pack("<IQ", 0, 1) + text("alice"))
    results["own ticket"] = reply[0]
    results["enter with it"] = enter(made_up, 1)[0]
    results["enter without"] = enter(bytes(16), 1)[0]

    reply, fds = call(control, NEIGHBOUR, text("authd") + struct.pack("<I", 0))
    authd = socket.socket(fileno=fds[0])
    kind, _, ticket, answer = login(authd, "alice", "guess", 2)
    results["wrong password"] = [kind, len(ticket)]
    seen = answer
    kind, data, ticket, answer = login(authd, "alice", "", 3, "SCRAM-SHA-256", b"n,,n=alice,r=abcdefgh")
    results["scram"] = [kind, len(ticket)]
    seen += answer
    kind, _, ticket, answer = login(authd, "alice", "alice word", 4)
    seen += answer
    results["right password"] = [kind, len(ticket)]
    results["another connection"] = enter(ticket, 5)[0]
    results["spent by that"] = enter(ticket, 4)[0]
    kind, _, ticket, answer = login(authd, "alice", "alice word", 6)
    code, client = enter(ticket, 6)
    results["in"] = code
    client.settimeout(60)
    said = b""
    while piece := client.recv(4096):
        said += piece
    results["said"] = said.decode()
    results["replayed"] = enter(ticket, 6)[0]
    kind, _, ticket, _ = login(authd, "alice", "alice word", 0)
    results["no connection"] = [kind, len(ticket)]

    # Another process of the role shows it, and then we do.
    kind, _, ticket, _ = login(authd, "alice", "alice word", 8)
    leave("loot", ticket.hex())
    results["shown by another process"] = int(find("stolen"))
    results["spent by that process"] = enter(ticket, 8)[0]

    # Another channel to authd ends no exchange of this one, and goes on with none.
    for how in ("cancel", "step"):
        body = text("PLAIN") + b"\0" + text("") + text("pop3") + text("192.0.2.7") + b"\1\0" + text("") + text("") + struct.pack("<QQ", 7, 0)
        r = Reader(call(authd, AUTH_BEGIN, body)[0])
        _, exchange = r.take("B"), r.take("Q")
        _, fds = call(control, NEIGHBOUR, text("authd") + struct.pack("<I", 0))
        with socket.socket(fileno=fds[0]) as other:
            other.settimeout(60)
            if how == "cancel":
                send(other, AUTH_CANCEL, struct.pack("<Q", exchange))
                # In order: when this is answered, that has been heard.
                call(other, AUTH_BEGIN, body.replace(text("PLAIN"), text("NONE!"), 1))
            else:
                send(other, AUTH_STEP, struct.pack("<Q", exchange) + text("\0alice\0alice word") + struct.pack("<Q", 0), 1)
                answers = 0
                while piece := other.recv(65536):
                    answers += bool(struct.unpack("<HHII", piece[:12])[1] & 0x8000)
                results["stolen step"] = answers
        reply, _ = call(authd, AUTH_STEP, struct.pack("<Q", exchange) + text("\0alice\0alice word") + struct.pack("<Q", 0))
        results[f"after a stranger's {how}"] = reply[0]
    results["seen"] = (seen + data).hex()


while True:
    kind, _, request, body, fds = receive(control)
    for fd in fds:
        os.close(fd)
    if kind == BEGIN:
        send(control, READY)
        with open(HERE + ".mode") as f:
            mode = f.read()
        try:
            os.close(os.open(f"{HERE}.{mode}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:          # the second process of the role, or one of a later start
            if mode == "boundary" and not os.path.exists(HERE + ".stolen"):
                leave("stolen", str(enter(bytes.fromhex(find("loot")), 8)[0]))
            continue
        try:
            {"boundary": attack, "apop": attack_apop}[mode]()
        except Exception as error:
            results["error"] = repr(error)
        leave(mode + ".results", json.dumps(results))
    else:
        master_says(kind, request, body)
