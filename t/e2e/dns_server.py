#!/usr/bin/env python3
"""A DNS server of the tests' own: dns_server.py --zone FILE [--address 127.0.0.53] [--port 53] [--ttl 1] [--log FILE] [--port-file FILE].

FILE is read anew whenever it changes. Each line is "NAME [TTL] TYPE DATA" (A, AAAA, MX, PTR, CNAME, TXT, NS), or what to do to
questions for a name, "NAME !BEHAVIOUR [SECONDS]", where NAME may be "*.example.org" or "*":
  !drop          no answer            !drop1        no answer to the first question of each kind
  !servfail !refused !formerr !notimp              that code
  !truncate      TC over UDP, the whole answer over TCP
  !notcp         TC over UDP, and TCP closes at once
  !delay 3       the answer after 3 seconds
  !wrongid       packets with wrong ids, and an answer to another question, before the true one
  !onlywrong     the same without the true one
  !noedns        FORMERR to a question with EDNS
  !ad            the answer says it is authentic
  !junk          bytes that are no packet
A name that has no line is NXDOMAIN; one that lacks the type is NODATA; both with a SOA. Aliases are followed within FILE."""
import argparse
import ipaddress
import os
import selectors
import socket
import struct
import sys
import time

TYPES = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28}
CODES = {"!formerr": 1, "!servfail": 2, "!notimp": 4, "!refused": 5}
QR, AA, TC, RD, RA, AD = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x0020


def wire_name(name):
    labels = [label for label in name.rstrip(".").split(".") if label]
    return b"".join(bytes([len(label)]) + label.encode("latin-1") for label in labels) + b"\0"


def wire_data(kind, words):
    if kind in ("A", "AAAA"):
        return ipaddress.ip_address(words[0]).packed
    if kind == "MX":
        return struct.pack("!H", int(words[0])) + wire_name(words[1])
    if kind == "TXT":
        text = " ".join(words).strip('"').encode()
        return b"".join(bytes([len(text[i:i + 255])]) + text[i:i + 255] for i in range(0, len(text), 255)) or b"\0"
    return wire_name(words[0])


class Zone:
    def __init__(self, path, ttl):
        self.path, self.ttl, self.stamp = path, ttl, None
        self.refresh()

    def refresh(self):
        st = os.stat(self.path)
        stamp = (st.st_ino, st.st_mtime_ns, st.st_size)
        if stamp == self.stamp:
            return
        records, behaviours = {}, {}
        for number, line in enumerate(open(self.path), 1):
            words = line.split("#")[0].split()
            if not words:
                continue
            name = words.pop(0).rstrip(".").lower()
            if words[0].startswith("!"):
                behaviours.setdefault(name, []).append((words[0], float(words[1]) if len(words) > 1 else 0))
                continue
            ttl = int(words.pop(0)) if words[0].isdigit() else self.ttl
            kind = words.pop(0).upper()
            if kind not in TYPES:
                sys.exit(f"{self.path}:{number}: no such type: {kind}")
            records.setdefault(name, []).append((TYPES[kind], ttl, wire_data(kind, words), words))
        self.records, self.behaviours, self.stamp = records, behaviours, stamp

    def behaviour(self, name):
        """What to do: the exact name's lines, else those of the nearest wildcard."""
        if name in self.behaviours:
            return dict(self.behaviours[name])
        labels = name.split(".")
        for i in range(1, len(labels) + 1):
            wild = ".".join(["*"] + labels[i:])
            if wild in self.behaviours:
                return dict(self.behaviours[wild])
        return {}

    def exists(self, name):
        return name in self.records or any(n.endswith("." + name) for n in self.records)


class Question:
    def __init__(self, packet):
        if len(packet) < 17:
            raise ValueError("short")
        self.id, self.flags, count, _, _, extra = struct.unpack("!6H", packet[:12])
        at, labels = 12, []
        while packet[at]:
            size = packet[at]
            if size > 63 or at + size + 1 >= len(packet):
                raise ValueError("bad name")
            labels.append(packet[at + 1:at + 1 + size].decode("latin-1"))
            at += size + 1
        self.type = struct.unpack("!H", packet[at + 1:at + 3])[0]
        self.wire = packet[12:at + 5]
        self.name = ".".join(labels).lower()
        self.edns = extra > 0
        if count != 1 or self.flags & QR:
            raise ValueError("no question")


def reply(question, flags=0, rcode=0, answers=(), authority=(), ident=None, wire=None):
    head = struct.pack("!6H", question.id if ident is None else ident, QR | RD | RA | flags | rcode, 1, len(answers), len(authority), 0)
    return head + (question.wire if wire is None else wire) + b"".join(answers) + b"".join(authority)


def record(name, kind, ttl, data):
    return wire_name(name) + struct.pack("!HHIH", kind, 1, ttl, len(data)) + data


def honest(zone, question, flags):
    answers, name = [], question.name
    for _ in range(20):
        here = zone.records.get(name, [])
        found = [r for r in here if r[0] == question.type]
        alias = [r for r in here if r[0] == TYPES["CNAME"]]
        if found or not alias:
            break
        answers.append(record(name, alias[0][0], alias[0][1], alias[0][2]))
        name = alias[0][3][0].rstrip(".").lower()
    answers += [record(name, r[0], r[1], r[2]) for r in found]
    if found:
        return reply(question, flags, 0, answers)
    apex = ".".join(name.split(".")[-2:])
    soa = record(apex, TYPES["SOA"], zone.ttl, wire_name("ns." + apex) + wire_name("root." + apex) + struct.pack("!5I", 1, 3600, 600, 86400, zone.ttl))
    return reply(question, flags, 0 if zone.exists(name) else 3, answers, [soa])


def liar(question):
    evil = record(question.name, TYPES["A"], 3600, bytes([203, 0, 113, 66]))
    packets = [reply(question, answers=[evil], ident=(question.id + i) & 0xffff) for i in range(1, 20)]
    other = wire_name("evil.example") + question.wire[-4:]
    return packets + [reply(question, answers=[evil], wire=other)]


class Server:
    def __init__(self, options):
        self.zone, self.seen, self.later = Zone(options.zone, options.ttl), set(), []
        self.log = open(options.log, "a", buffering=1) if options.log else None
        self.selector = selectors.DefaultSelector()
        for _ in range(50):
            self.udp = socket.socket(socket.AF_INET6 if ":" in options.address else socket.AF_INET, socket.SOCK_DGRAM)
            self.tcp = socket.socket(self.udp.family, socket.SOCK_STREAM)
            self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.udp.bind((options.address, options.port))
            try:
                self.tcp.bind((options.address, self.udp.getsockname()[1]))
                break
            except OSError:
                if options.port:
                    raise
        self.tcp.listen(20)
        if options.port_file:
            with open(options.port_file + ".new", "w") as f:
                f.write(str(self.udp.getsockname()[1]))
            os.rename(options.port_file + ".new", options.port_file)
        self.selector.register(self.udp, selectors.EVENT_READ, self.on_udp)
        self.selector.register(self.tcp, selectors.EVENT_READ, self.on_connect)

    def packets(self, packet, tcp):
        """Delay in seconds, and the packets that answer this one."""
        self.zone.refresh()
        try:
            q = Question(packet)
        except (ValueError, IndexError, struct.error):
            return 0, []
        do = self.zone.behaviour(q.name)
        if self.log:
            self.log.write(f"{'tcp' if tcp else 'udp'} {q.name} {q.type}\n")
        key = (q.name, q.type)
        first, _ = key not in self.seen, self.seen.add(key)
        delay = do.get("!delay", 0)
        if "!drop" in do or ("!drop1" in do and first):
            return 0, []
        if "!junk" in do:
            return delay, [os.urandom(40), b""]
        for word, rcode in CODES.items():
            if word in do:
                return delay, [reply(q, rcode=rcode)]
        if "!noedns" in do and q.edns:
            return delay, [reply(q, rcode=1)]
        if not tcp and ("!truncate" in do or "!notcp" in do):
            return delay, [reply(q, TC)]
        if tcp and "!notcp" in do:
            return 0, []
        true = honest(self.zone, q, AD if "!ad" in do else 0)
        if not tcp and len(true) > (1232 if q.edns else 512):
            return delay, [reply(q, TC)]
        if "!onlywrong" in do:
            return delay, liar(q)
        return delay, (liar(q) if "!wrongid" in do and not tcp else []) + [true]

    def soon(self, delay, work):
        if delay:
            self.later.append((time.monotonic() + delay, work))
        else:
            work()

    def on_udp(self, _):
        packet, peer = self.udp.recvfrom(4096)
        delay, packets = self.packets(packet, False)
        self.soon(delay, lambda: [self.udp.sendto(p, peer) for p in packets])

    def on_connect(self, _):
        client, _ = self.tcp.accept()
        client.settimeout(2)
        held = bytearray()

        def on_data(_):
            try:
                piece = client.recv(4096)
            except OSError:
                piece = b""
            held.extend(piece)
            if piece and (len(held) < 2 or len(held) < 2 + struct.unpack("!H", held[:2])[0]):
                return
            self.selector.unregister(client)
            delay, packets = self.packets(bytes(held[2:]), True) if piece else (0, [])

            def answer():
                try:
                    for p in packets:
                        client.sendall(struct.pack("!H", len(p)) + p)
                except OSError:
                    pass
                client.close()
            self.soon(delay, answer)
        self.selector.register(client, selectors.EVENT_READ, on_data)

    def run(self):
        while True:
            wait = max(0, min(t for t, _ in self.later) - time.monotonic()) if self.later else None
            for key, _ in self.selector.select(wait):
                key.data(key.fileobj)
            now = time.monotonic()
            due, self.later = [w for t, w in self.later if t <= now], [(t, w) for t, w in self.later if t > now]
            for work in due:
                work()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zone", required=True)
    parser.add_argument("--address", default="127.0.0.53")
    parser.add_argument("--port", type=int, default=53, help="0: any free one, see --port-file")
    parser.add_argument("--port-file", help="where the port is written once it answers")
    parser.add_argument("--ttl", type=int, default=1, help="of records that name none")
    parser.add_argument("--log", help="a line for each question")
    Server(parser.parse_args()).run()
