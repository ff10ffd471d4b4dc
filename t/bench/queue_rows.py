"""The rows of `make bench` that fill a queue: mail for dead and hanging hosts, starts with a long queue, acts on many mails."""
import os
import re
import socket
import statistics
import threading
import time

from workload import LOAD, TOP, cpu, load, one_by_one, pids, pss, sh, spent, step_aside, users, wait_delivered

MAKE_QUEUE = os.path.join(TOP, "build/bench/make_queue")
SITES = 100
HANGING = 2599                       # a port where somebody listens, and takes no connection


def spool(server):
    return "/var/spool/" + server.name


def dead_sites(hanging=False):
    """A line of main.cf: dead0 to dead99 refuse each connection, hang.example.net accepts and then says nothing."""
    with open("/etc/bench.transport", "w") as f:
        f.writelines(f"dead{i}.example.net smtp:[127.0.1.{1 + i}]:2598\n" for i in range(SITES))
        f.write(f"hang.example.net smtp:[127.0.0.1]:{HANGING}\n" if hanging else "")
    return "transport_maps = texthash:/etc/bench.transport\n"


def files_in(*directories):
    """Mails in these directories and in their subdirectories of one hex digit."""
    count = 0
    for d in directories:
        names = os.listdir(d)
        fans = [name for name in names if len(name) == 1]
        count += len(names) - len(fans) + sum(len(os.listdir(f"{d}/{fan}")) for fan in fans)
    return count


def listing(server, mails, what):
    """Seconds that mailq takes; it must show them all."""
    begin = time.monotonic()
    out = sh("mailq")
    took = time.monotonic() - begin
    shown = len(re.findall(what, out, re.M))
    if shown != mails:
        raise SystemExit(f"mailq shows {shown} of {mails} mails")
    return took


class Highest:
    """The largest PSS of the whole suite so far, looked at each second."""

    def __init__(self, server):
        self.value, self.going = 0, True
        self.thread = threading.Thread(target=self.watch, args=(server,))
        self.thread.start()

    def watch(self, server):
        while self.going:
            self.value = max(self.value, pss(server.pids()))
            time.sleep(1)

    def end(self):
        self.going = False
        self.thread.join()
        return self.value


def dead(server, mails=20000):
    """Mail for hosts that refuse connections: how fast it comes in, until all of it is put off, listed, and what that takes."""
    users(1)
    server.start(dead_sites() + ("imapd_listen =\npop3d_listen =\n" if server.name == "veredus" else ""))     # beside Postfix, which has neither
    step_aside()
    load(1, 1, 1, n=1)
    wait_delivered(1)
    time.sleep(4)                    # the start is over
    highest = Highest(server)
    c0, begin = cpu(), time.monotonic()
    sh(LOAD, "40", str(mails), "20", "4096", "100", "127.0.0.1", "25", "dead#.example.net")
    taken = time.monotonic() - begin
    while files_in(spool(server) + "/deferred") < mails:
        if time.monotonic() - begin > 400:
            raise SystemExit("not all mail is put off")
        time.sleep(0.25)
    settled, used = time.monotonic() - begin, cpu() - c0
    listings = [listing(server, mails, r"^ +user\d+@dead") for _ in range(3)]
    return {"taken_in_per_second": mails / taken, "put_off_per_second": mails / settled, "cpu_ms_per_mail": 1e3 * used / mails,
            "mailq_seconds": statistics.median(listings), "suite_highest_pss_mb": highest.end(), "suite_pss_mb": pss(server.pids())}


def fill(server, mails):
    """Deferred mail for dead hosts into the spool of a server that does not run, the next attempt in an hour."""
    if server.name == "veredus":
        sh(MAKE_QUEUE, spool(server), str(mails))
    else:
        copy_deferred(mails)
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("3\n")


def copy_deferred(mails):
    """Postfix's own file of a deferred mail, and the reason beside it, under as many names as are wanted."""
    base = "/var/spool/postfix"
    [first] = [os.path.join(d, f) for d, _, files in os.walk(base + "/deferred") for f in files]
    reason = first.replace("/deferred/", "/defer/")
    owner, due = os.stat(first), time.time() + 3600
    contents = [(open(path, "rb").read(), kind) for path, kind in ((first, "deferred"), (reason, "defer"))]
    names = set()
    for i in range(mails):
        name = None
        for content, kind in contents:
            new = f"{base}/{kind}/new"
            fd = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o700 if kind == "deferred" else 0o600)
            os.write(fd, content)
            os.fchown(fd, owner.st_uid, owner.st_gid)
            if name is None:                     # a queue ID: microseconds, then the number of its file
                name = f"{i % 0xF4240:05X}{os.fstat(fd).st_ino:X}"
            os.close(fd)
            if kind == "deferred":
                os.utime(new, (due, due))
            directory = f"{base}/{kind}/{name[0]}"
            if directory not in names:
                names.add(directory)
                os.makedirs(directory, mode=0o700, exist_ok=True)
                os.chown(directory, owner.st_uid, owner.st_gid)
            os.rename(new, f"{directory}/{name}")
    for path in (first, reason):
        os.unlink(path)


def put_off_one(server):
    """One mail for a dead host, for copy_deferred."""
    sh(LOAD, "1", "1", "1", "1500", "1", "127.0.0.1", "25", "dead#.example.net")
    while files_in(spool(server) + "/deferred") < 1:
        time.sleep(0.05)


def fresh(server, deferred=100000, hanging=5000, mails=200):
    """One local mail at a time, with an empty queue and with a full one."""
    users(4)
    silent = socket.socket()
    silent.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    silent.bind(("127.0.0.1", HANGING))
    silent.listen(4096)              # the kernel connects; nobody says anything
    config = dead_sites(hanging=True)
    server.start(config)
    load(1, 20, 1, n=1)
    wait_delivered(20)
    _, empty = one_by_one(mails)
    if server.name == "postfix":
        put_off_one(server)
    server.stop()
    fill(server, deferred)
    server.start_again()
    step_aside()
    load(1, 5, 1, n=1)
    wait_delivered(25 + mails)
    sh(LOAD, "20", str(hanging), "20", "1500", "100", "127.0.0.1", "25", "hang.example.net")
    wait_delivered(25 + mails)
    time.sleep(5)                    # its first attempts are under way
    _, full = one_by_one(mails)
    silent.close()
    empty_ms, full_ms = (1e3 * sorted(times)[mails // 2] for times in (empty, full))
    return {"latency_empty_ms": empty_ms, "latency_full_ms": full_ms, "full_to_empty": full_ms / empty_ms,
            "latency_full_p95_ms": 1e3 * sorted(full)[mails * 95 // 100]}


def waiting(server, mails):
    """A start with a queue full of mail for dead hosts, and a fresh mail beside it."""
    users(1)
    server.start("", lambda: fill(server, mails))
    begin = server.started
    step_aside()
    load(1, 1, 1, n=1)
    wait_delivered(1)
    first = time.monotonic() - begin
    qmgr = pids(r"/libexec/veredus/qmgr")
    figures = {"first_delivery_seconds": first, "qmgr_cpu_seconds": spent(qmgr), "qmgr_start_pss_mb": pss(qmgr)}
    figures["mailq_cold_seconds"] = listing(server, mails, r"^ +user\d+@site")     # after a start, from a cold disk
    figures["mailq_seconds"] = listing(server, mails, r"^ +user\d+@site")
    return {**figures, "qmgr_pss_mb": pss(qmgr)}


def acts(server, mails=100000):
    """Holding, releasing and deleting many mails."""
    users(1)
    server.start(dead_sites())
    if server.name == "postfix":
        put_off_one(server)
    server.stop()
    fill(server, mails)
    server.start_again()
    step_aside()
    base = spool(server)
    commands = {"veredus": {act: ["veredus", "queue", act, "ALL"] for act in ("hold", "release", "delete")},
                "postfix": {"hold": ["postsuper", "-h", "ALL"], "release": ["postsuper", "-H", "ALL"], "delete": ["postsuper", "-d", "ALL"]}}[server.name]
    done = {"hold": lambda: files_in(base + "/hold") == mails, "release": lambda: files_in(base + "/hold") == 0,
            "delete": lambda: files_in(base + "/deferred", base + "/hold") == 0}
    figures = {}
    for act, command in commands.items():
        begin = time.monotonic()
        sh(*command)
        while not done[act]():
            if time.monotonic() - begin > 200:
                raise SystemExit(f"{act} of {mails} mails does not end")
            time.sleep(0.1)
        figures[act + "_seconds"] = time.monotonic() - begin
    return figures


BENCHES = {"deferred": lambda s: waiting(s, 100000), "queue_million": lambda s: waiting(s, 1000000), "queue_dead": dead, "queue_fresh": fresh, "queue_acts": acts}
