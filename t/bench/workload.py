#!/usr/bin/env python3
"""One round of one workload against one server inside its namespaces; prints a JSON line of figures."""
import concurrent.futures
import ctypes
import glob
import json
import os
import re
import resource
import select
import socket
import struct
import subprocess
import sys
import time

import imap_rows

TOP = os.environ["E2E_TOP"]
LOAD = os.path.join(TOP, "build/bench/smtp_load")
USERS = 100


def sh(*command, **more):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more).stdout


def users(count):
    with open("/etc/passwd", "a") as p, open("/etc/group", "a") as g:
        for i in range(count):
            p.write(f"user{i}:x:{20000 + i}:{20000 + i}::/home/user{i}:/bin/sh\n")
            g.write(f"user{i}:x:{20000 + i}:\n")
            os.makedirs(f"/home/user{i}")
            os.chown(f"/home/user{i}", 20000 + i, 20000 + i)


def make_maildir(path, uid):
    """As it is after a user's first mail."""
    for part in ("", "/tmp", "/new", "/cur"):
        os.makedirs(path + part, mode=0o700)
        os.chown(path + part, uid, uid)


class Veredus:
    name = "veredus"

    def start(self, extra, prepare=None):
        os.makedirs("/etc/veredus", exist_ok=True)
        with open("/etc/veredus/main.cf", "w") as f:
            f.write("myhostname = mail.example.org\nmydestination = $myhostname, example.org, localhost\nmyorigin = example.org\n"
                    "mynetworks = 127.0.0.0/8\nmaillog_file = /var/log/mail.log\nhome_mailbox = Maildir/\n"
                    "smtpd_client_connection_count_limit = 0\n" + extra)
        with open("/etc/aliases", "w") as f:
            f.write("postmaster: root\nroot: user0\n")
        sh("veredus", "setup")
        if prepare:
            prepare()
        self.start_again()

    def start_again(self):
        self.started = time.monotonic()
        sh("veredus", "start")

    def stop(self):
        sh("veredus", "stop")

    def pids(self):
        return pids(r"/libexec/veredus/")


class Postfix:
    name = "postfix"

    def start(self, extra):
        sh("groupadd", "-r", "postfix"); sh("groupadd", "-r", "postdrop")
        sh("useradd", "-r", "-g", "postfix", "-d", "/var/spool/postfix", "-s", "/usr/sbin/nologin", "postfix")
        with open("/etc/postfix/main.cf", "w") as f:
            f.write("compatibility_level = 3.6\nmyhostname = mail.example.org\nmydestination = $myhostname, example.org, localhost\n"
                    "myorigin = example.org\nmynetworks = 127.0.0.0/8\nmaillog_file = /var/log/mail.log\nhome_mailbox = Maildir/\n"
                    "alias_maps = texthash:/etc/aliases\nalias_database =\ninet_protocols = ipv4\nsmtputf8_enable = no\n"
                    "smtpd_client_connection_count_limit = 0\n" + extra)
        master = open("/usr/share/postfix/master.cf.dist").read()
        if "postlog" not in master:
            master += "\npostlog   unix-dgram n  -       n       -       1       postlogd\n"
        with open("/etc/postfix/master.cf", "w") as f:
            f.write(re.sub(r"^(\S+\s+\S+\s+\S+\s+\S+\s+)y", r"\1n", master, flags=re.M))
        with open("/etc/aliases", "w") as f:
            f.write("postmaster: root\nroot: user0\n")
        os.makedirs("/var/spool/postfix", exist_ok=True)
        os.makedirs("/var/lib/postfix", exist_ok=True)
        sh("chown", "postfix", "/var/lib/postfix")
        for d in "active bounce corrupt defer deferred flush hold incoming private saved trace".split():
            os.makedirs(f"/var/spool/postfix/{d}", mode=0o700, exist_ok=True)
            sh("chown", "postfix", f"/var/spool/postfix/{d}")
        for d, mode in (("maildrop", 0o730), ("public", 0o710)):
            os.makedirs(f"/var/spool/postfix/{d}", exist_ok=True)
            sh("chown", "postfix:postdrop", f"/var/spool/postfix/{d}")
            os.chmod(f"/var/spool/postfix/{d}", mode)
        os.makedirs("/var/spool/postfix/pid", exist_ok=True)
        for p in ("/usr/sbin/postdrop", "/usr/sbin/postqueue"):
            sh("chgrp", "postdrop", p)
            os.chmod(p, 0o2755)
        self.start_again()

    def start_again(self):
        sh("/usr/sbin/postfix", "start")

    def stop(self):
        sh("/usr/sbin/postfix", "stop")

    def pids(self):
        return pids(r"/lib/postfix/sbin/|^(smtpd|smtp|cleanup|local|qmgr|pickup|bounce|trivial-rewrite|proxymap|anvil|postlogd) -")


def certificate(path):
    sh("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "9", "-subj", "/CN=mail.example.org",
       "-keyout", path, "-out", path + ".crt")
    with open(path, "a") as key, open(path + ".crt") as made:
        key.write(made.read())


class Dovecot:
    """Debian's, with its defaults, or tuned as its manual says for many short logins: login processes that serve many clients."""
    name = "dovecot"

    def __init__(self, protocol, tuned=False):
        self.protocol = protocol
        self.tuned = tuned

    def start(self, extra):
        for name in ("dovecot", "dovenull"):
            sh("useradd", "-r", "-U", "-d", "/nonexistent", "-s", "/usr/sbin/nologin", name)
        with open("/etc/dovecot/bench.conf", "w") as f:
            f.write(f"protocols = {self.protocol}\nlisten = 127.0.0.1\nssl = yes\nssl_cert = </etc/bench.pem\nssl_key = </etc/bench.pem\nmail_location = maildir:~/Maildir\n"
                    "log_path = /var/log/mail.log\ndefault_client_limit = 5000\nfirst_valid_uid = 1000\nmail_max_userip_connections = 100\n"
                    "passdb {\n driver = passwd-file\n args = /etc/bench.passwd\n}\nuserdb {\n driver = passwd\n}\n"
                    f"service {self.protocol}-login {{\n process_limit = 2000\n}}\nservice {self.protocol} {{\n process_limit = 2000\n}}\n")
            if self.tuned:
                f.write(f"service {self.protocol}-login {{\n service_count = 0\n process_min_avail = 2\n client_limit = 4000\n}}\n"
                        f"service {self.protocol} {{\n process_min_avail = 8\n}}\nauth_cache_size = 10M\n")
        self.start_again()

    def start_again(self):
        subprocess.run(["/usr/sbin/dovecot", "-c", "/etc/dovecot/bench.conf"], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        for _ in range(1000):
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", 143 if self.protocol == "imap" else 110)) == 0:
                    return
            time.sleep(0.01)
        raise SystemExit("dovecot does not answer:\n" + open("/var/log/mail.log").read()[-3000:])

    def stop(self):
        sh("/usr/sbin/dovecot", "-c", "/etc/dovecot/bench.conf", "stop")
        while self.pids():
            time.sleep(0.01)

    def pids(self):
        return pids(r"^dovecot/|^/usr/sbin/dovecot")


def pids(pattern):
    out = []
    for p in os.listdir("/proc"):
        if p.isdigit():
            try:
                if re.search(pattern, open(f"/proc/{p}/cmdline").read().replace("\0", " ")):
                    out.append(int(p))
            except OSError:
                pass
    return out


def cpu(group="BENCH_CGROUP"):
    """CPU seconds of everything in this run's cgroup; BENCH_ASIDE: of what loads and watches it."""
    path = os.environ.get(group, "")
    try:
        if os.path.exists(path + "/cpuacct.usage"):      # cgroup version 1
            return int(open(path + "/cpuacct.usage").read()) / 1e9
        return int(re.search(r"usage_usec (\d+)", open(path + "/cpu.stat").read()).group(1)) / 1e6
    except (OSError, AttributeError):
        return 0.0


def step_aside():
    """What loads and watches the server is not counted with it: this process and its children leave the measured cgroup. And what was written
    to set it up is on the disk: no side pays for that in its syncs."""
    os.sync()
    path = os.environ.get("BENCH_ASIDE", "")
    if path:
        with open(path + "/cgroup.procs", "w") as f:
            f.write(str(os.getpid()))


class Arrivals:
    """Mails that come into directories (inotify): no watching by polling, which would take the server's CPU."""

    def __init__(self, *paths):
        libc = ctypes.CDLL(None, use_errno=True)
        self.fd = libc.inotify_init()
        self.paths = paths
        for path in paths:
            if self.fd < 0 or libc.inotify_add_watch(self.fd, path.encode(), 0x100 | 0x80) < 0:      # IN_CREATE, IN_MOVED_TO
                raise OSError(ctypes.get_errno(), "inotify")
        self.came = self.there = self.count()

    def count(self):
        return sum(len(os.listdir(path)) for path in self.paths)

    def wait(self):
        os.read(self.fd, 4096)

    def wait_for(self, wanted, patience=300):
        """Until so many are there, those from before among them."""
        end = time.monotonic() + patience
        while self.came < wanted:
            if not select.select([self.fd], [], [], max(0, end - time.monotonic()))[0]:
                print(open("/var/log/mail.log").read()[-3000:], file=sys.stderr)
                raise SystemExit(f"only {self.count()} of {wanted} mails arrived")
            time.sleep(0.005)            # some at once
            events, at = os.read(self.fd, 1 << 20), 0
            while at < len(events):
                _, what, _, size = struct.unpack_from("iIII", events, at)
                at += 16 + size
                self.came += 1
                if what & 0x4000:        # IN_Q_OVERFLOW
                    raise SystemExit("inotify lost count")
        if self.count() < wanted:
            raise SystemExit(f"{self.count()} of {wanted} mails are where they should be")


def pss(ids):
    total = 0
    for p in ids:
        try:
            total += int(re.search(r"^Pss:\s+(\d+)", open(f"/proc/{p}/smaps_rollup").read(), re.M).group(1))
        except (OSError, AttributeError):
            pass
    return total / 1024


def spent(ids):
    """CPU seconds of these processes."""
    ticks = 0
    for p in ids:
        fields = open(f"/proc/{p}/stat").read().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def maildirs():
    return glob.glob("/home/*/Maildir/new")


def delivered():
    return sum(len(os.listdir(d)) for d in maildirs())


def wait_delivered(count, patience=120):
    end = time.monotonic() + patience
    while delivered() < count:
        if time.monotonic() > end:
            print(open("/var/log/mail.log").read()[-3000:], file=sys.stderr)
            raise SystemExit(f"only {delivered()} of {count} mails arrived")
        time.sleep(0.01)


def load(connections, mails, per_session, size=8192, n=USERS):
    out = sh(LOAD, str(connections), str(mails), str(per_session), str(size), str(n), "127.0.0.1", "25")
    return {k: float(v) for k, v in re.findall(r"(\w+) ([\d.]+)", out)}


def local_parallel(server, connections=40, mails=3000, per_session=1):
    users(USERS)
    server.start("")
    step_aside()
    load(4, 200, 1)
    wait_delivered(200)
    arrivals = Arrivals(*maildirs())
    c0, begin = cpu(), time.monotonic()
    f = load(connections, mails, per_session)
    arrivals.wait_for(200 + mails)
    seconds = time.monotonic() - begin
    found = {"mails_per_second": mails / seconds, "cpu_ms_per_mail": 1e3 * (cpu() - c0) / mails, "ack_p95_ms": f["ack_p95_ms"]}
    return {**found, **bare(server, "mails", 3000, USERS, "queue")}


def bare(server, *what):
    """Beside our own figure: what a bare program makes of the same files on this disk."""
    if server.name != "veredus":
        return {}
    mode, *more = what
    return {"bare_per_second": float(sh(os.path.join(TOP, "build/bench/bare_disk"), mode, "/home/bare", *map(str, more)).split()[1])}


def one_by_one(mails):
    """One mail for user0 at a time: seconds until it is acknowledged, and until its file is in new/."""
    arrivals = Arrivals("/home/user0/Maildir/new")
    line = b"The quick brown fox jumps over the lazy dog, and then some more of it.\r\n"
    body = b"Subject: bench\r\nFrom: <bench@example.net>\r\nTo: <user0@example.org>\r\n\r\n" + line * (8192 // len(line)) + b".\r\n"
    talk = [b"EHLO bench.example.net\r\n", b"MAIL FROM:<bench@example.net>\r\n", b"RCPT TO:<user0@example.org>\r\n", b"DATA\r\n", body]
    acks, times = [], []
    for _ in range(mails):
        begin = time.monotonic()
        with socket.create_connection(("127.0.0.1", 25)) as s:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            reply = s.recv(4096)
            for words in talk:
                s.sendall(words)
                reply = s.recv(4096)
                if reply[:1] not in b"23":
                    raise SystemExit(f"unexpected: {reply}")
            acks.append(time.monotonic() - begin)
            arrivals.wait()
            times.append(time.monotonic() - begin)
            s.sendall(b"QUIT\r\n")
            s.recv(4096)
    return sorted(acks), sorted(times)


def local_one(server, mails=300):
    """One mail at a time: from connect to the file in new/."""
    users(4)
    server.start("")
    step_aside()
    load(1, 20, 1, n=1)
    wait_delivered(20)
    c0 = cpu()
    acks, times = one_by_one(mails)
    return {"latency_ms": 1e3 * times[mails // 2], "ack_ms": 1e3 * acks[mails // 2], "cpu_ms_per_mail": 1e3 * (cpu() - c0) / mails}


def send_list(recipients):
    """One mail to all of them over one connection, as a list manager sends it: the commands in a pipeline (RFC 2920)."""
    with socket.create_connection(("127.0.0.1", 25)) as s, s.makefile("rb") as replies:
        def expect(code, count=1):
            for _ in range(count):
                line = replies.readline()
                while line[3:4] == b"-":
                    line = replies.readline()
                if not line.startswith(code):
                    raise SystemExit(f"unexpected: {line}")
        expect(b"220")
        s.sendall(b"EHLO bench.example.net\r\n")
        expect(b"250")
        s.sendall(b"MAIL FROM:<bench@example.net>\r\n")
        expect(b"250")
        for at in range(0, len(recipients), 100):
            some = recipients[at:at + 100]
            s.sendall("".join(f"RCPT TO:<{r}>\r\n" for r in some).encode())
            expect(b"250", len(some))
        s.sendall(b"DATA\r\n")
        expect(b"354")
        s.sendall(b"Subject: list\r\n\r\n" + b"A line of a newsletter.\r\n" * 300 + b".\r\n")
        expect(b"250")
        s.sendall(b"QUIT\r\n")


def local_list(server, recipients=1000):
    """One mail to many users of this host, who have had mail before, by SMTP: until the last one has it."""
    users(recipients)
    for i in range(recipients):
        make_maildir(f"/home/user{i}/Maildir", 20000 + i)
    server.start("")
    step_aside()
    load(1, 5, 1, n=1)
    wait_delivered(5)
    arrivals = Arrivals(*maildirs())
    c0, begin = cpu(), time.monotonic()
    send_list([f"user{i}@example.org" for i in range(recipients)])
    arrivals.wait_for(5 + recipients)
    seconds = time.monotonic() - begin
    found = {"deliveries_per_second": recipients / seconds, "cpu_ms_per_delivery": 1e3 * (cpu() - c0) / recipients}
    return {**found, **bare(server, "users", recipients)}


class Mbox:
    """Mails in an mbox, by their From_ lines; only what is new is read."""

    def __init__(self, path):
        self.path, self.offset, self.came = path, 0, 0

    def wait_for(self, wanted, patience=300):
        end = time.monotonic() + patience
        while True:
            if os.path.exists(self.path):
                with open(self.path, "rb") as f:
                    f.seek(self.offset)
                    new = f.read()
                whole = new.rfind(b"\n") + 1
                self.offset += whole
                self.came += len(re.findall(rb"^From ", new[:whole], re.M))
            if self.came >= wanted:
                return
            if time.monotonic() > end:
                print(open("/var/log/mail.log").read()[-3000:], file=sys.stderr)
                raise SystemExit(f"only {self.came} of {wanted} mails arrived")
            time.sleep(0.02)


def local_burst(server, mbox, mails=10000):
    """Many mails for one user at once."""
    users(1)
    make_maildir("/home/user0/Maildir", 20000)
    server.start("home_mailbox = mbox\n" if mbox else "")
    step_aside()
    arrivals = Mbox("/home/user0/mbox") if mbox else Arrivals(*maildirs())
    load(4, 20, 5, n=1)
    arrivals.wait_for(20)
    c0, begin = cpu(), time.monotonic()
    load(20, mails, 20, size=4096, n=1)
    arrivals.wait_for(20 + mails)
    seconds = time.monotonic() - begin
    found = {"mails_per_second": mails / seconds, "cpu_ms_per_mail": 1e3 * (cpu() - c0) / mails}
    return found if mbox else {**found, **bare(server, "mails", 3000, 1, "queue")}


def command_line(server, mails=300):
    users(4)
    server.start("")
    step_aside()
    with open("/tmp/veredus-bench-mail", "wb+") as body:
        os.unlink(body.name)
        body.write(b"Subject: cron\n\n" + b"a line of output\n" * 30)
        body.flush()

        def call(to):
            os.lseek(body.fileno(), 0, os.SEEK_SET)
            pid = os.posix_spawn("/usr/sbin/sendmail", ["sendmail", "-i", to], os.environ,
                                 file_actions=[(os.POSIX_SPAWN_DUP2, body.fileno(), 0)])
            _, status, usage = os.wait4(pid, 0)
            if status:
                raise SystemExit(f"sendmail: status {status}")
            return usage.ru_utime + usage.ru_stime

        for _ in range(5):
            call("user0")
        wait_delivered(5)
        c0, begin = cpu(), time.monotonic()
        spent = sum(call(f"user{i % 4}") for i in range(mails))
        called = time.monotonic() - begin
        wait_delivered(5 + mails)
        return {"calls_per_second": mails / called, "cpu_ms_per_call": 1e3 * spent / mails, "cpu_ms_per_mail": 1e3 * (spent + cpu() - c0) / mails}


class Sink:
    """Where relayed mail goes: every address of 127.0.0.0/8, port 2500; and what the log says of it."""

    def __init__(self):
        self.process = subprocess.Popen([os.path.join(TOP, "build/bench/smtp_sink"), "0.0.0.0", "2500"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.process.stdout.readline()
        self.log, self.sent = None, 0

    def wait(self, count, patience=300):
        """Until that many recipients are served."""
        end = time.monotonic() + patience
        while self.sent < count:
            if self.log is None and os.path.exists("/var/log/mail.log"):
                self.log = open("/var/log/mail.log")
            self.sent += self.log.read().count("status=sent") if self.log else 0
            if time.monotonic() > end:
                raise SystemExit(f"only {self.sent} of {count} were sent:\n" + open("/var/log/mail.log").read()[-3000:])
            time.sleep(0.02)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def relay_to(server, domains, mails, size=8192, connections=40, recipients=1, settings="", warm=100):
    """Mail for so many domains, each with a host of its own, from the first connection until the log says that the last recipient is served."""
    users(1)
    os.makedirs(f"/etc/{server.name}", exist_ok=True)
    with open(f"/etc/{server.name}/transport", "w") as f:
        f.writelines(f"d{i}.example.net smtp:[127.1.0.{1 + i}]:2500\n" for i in range(domains))
    table = "texthash" if server.name == "postfix" else "hash"
    server.start(f"transport_maps = {table}:/etc/{server.name}/transport\n" + settings)
    step_aside()
    sink = Sink()

    def push(count, bytes_each, each):
        sh(LOAD, str(connections), str(count), "1", str(bytes_each), "100", "127.0.0.1", "25", "d#.example.net", f"{domains}x{each}")

    push(warm, 8192, 1)
    sink.wait(warm)
    base = peak = pss(server.pids())
    c0, load0, begin = cpu(), cpu("BENCH_ASIDE"), time.monotonic()
    if size > 1 << 20:          # its memory is watched
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            done = pool.submit(lambda: (push(mails, size, recipients), sink.wait(warm + mails * recipients)))
            while not done.done():
                peak = max(peak, pss(server.pids()))
                time.sleep(0.4)
            done.result()
    else:
        push(mails, size, recipients)
        sink.wait(warm + mails * recipients)
    seconds, spent_cpu, load_cpu = time.monotonic() - begin, cpu() - c0, cpu("BENCH_ASIDE") - load0
    sink.close()
    name = "mail" if recipients == 1 else "delivery"
    figures = {f"{'mails' if recipients == 1 else 'deliveries'}_per_second": mails * recipients / seconds, f"cpu_ms_per_{name}": 1e3 * spent_cpu / mails / recipients,
               f"source_and_sink_cpu_ms_per_{name}": 1e3 * load_cpu / mails / recipients}
    if size > 1 << 20:
        figures |= {"peak_pss_mb": peak, "growth_pss_mb": peak - base, "disk_alone_per_second": disk_alone(size)}
    return figures


def disk_alone(size, files=20):
    """How many files of that size the disk takes a second, one after the other, each synced: no server that syncs can be faster."""
    block = b"The quick brown fox jumps over the lazy dog.\r\n" * (size // 46)
    begin = time.monotonic()
    for i in range(files):
        with open(f"/home/disk{i}", "wb", buffering=0) as f:
            f.write(block)
            os.fdatasync(f.fileno())
        os.unlink(f.name)
    return files / (time.monotonic() - begin)


def relay_50x50(server):
    """50 mails, each to 50 domains."""
    return relay_to(server, 50, 50, recipients=50)


def relay_25mb(server):
    return relay_to(server, 10, 40, size=25 << 20, connections=4, settings="message_size_limit = 40000000\n")


def idle(server):
    resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
    users(1)
    server.start("smtpd_timeout = 600s\n")
    time.sleep(5)                    # the start is over
    figures = {"idle_pss_mb": pss(server.pids())}
    if server.name == "veredus":
        for program in sorted({os.path.basename(open(f"/proc/{p}/cmdline").read().split("\0")[0]) for p in server.pids()}):
            figures[f"{program}_pss_mb"] = pss(pids(rf"/libexec/veredus/{program}( |$)"))
        socks = []
        for i in range(5000):
            s = socket.socket()
            s.bind((f"127.0.{1 + i // 200}.{1 + i % 200}", 0))
            s.connect(("127.0.0.1", 25))
            s.recv(100)
            s.sendall(b"EHLO x\r\n")
            s.recv(1000)
            socks.append(s)
        figures["smtpd_5000_idle_pss_mb"] = pss(pids(r"/libexec/veredus/smtpd"))
    return figures


POP_LOAD = os.path.join(TOP, "build/bench/pop_load")


def pop_users(server, count, mails):
    """Users with the same passwords on both sides, in clear in a file, and some mail."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
    users(count)
    with open("/etc/bench.passwd", "w") as f:
        f.writelines(f"user{i}:{{PLAIN}}secret:{20000 + i}:{20000 + i}::/home/user{i}:/bin/sh:\n" for i in range(count))
    os.chmod("/etc/bench.passwd", 0o644)
    certificate("/etc/bench.pem")
    line = "The quick brown fox jumps over the lazy dog, and then some more of it.\n"
    for i in range(count):
        box = f"/home/user{i}/Maildir"
        for d in ("", "/cur", "/new", "/tmp"):
            os.mkdir(box + d, 0o700)
            os.chown(box + d, 20000 + i, 20000 + i)
        for n in range(mails):
            path = f"{box}/cur/{1700000000 + n}.M{n}P1.bench:2,"
            with open(path, "w") as f:
                f.write(f"Subject: mail {n}\nFrom: <bench@example.net>\n\n" + line * (8192 // len(line)))
            os.chown(path, 20000 + i, 20000 + i)
    server.start("" if server.name == "dovecot" else "passdb = file:/etc/bench.passwd\nsmtpd_tls_chain_files = /etc/bench.pem\n")
    step_aside()


def pop_load(mode, threads, sessions, user_count, tls=False):
    done = subprocess.run([POP_LOAD, mode, str(threads), str(sessions), str(user_count), "995" if tls else "110", *(["tls"] if tls else [])],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        print(open("/var/log/mail.log").read()[-3000:], file=sys.stderr)
        raise SystemExit(done.stdout)
    return {k: float(v) for k, v in re.findall(r"(\w+) ([\d.]+)", done.stdout)}


def pop_poll(server, tls, polls):
    """Login, STAT, QUIT of mailboxes with nothing new. Under TLS (port 995) each poll is a full handshake, which the server pays as ever: own key
    share, certificate, signature, tickets. The client is the lean one of lean_tls.h on the same cores (one X25519 share, AES-128-GCM, no doubts about
    the certificate), not OpenSSL's, which costs several times as much."""
    pop_users(server, USERS, 5)
    pop_load("poll", 4, 2 * USERS, USERS, tls)
    c0 = cpu()
    f = pop_load("poll", 20, polls, USERS, tls)
    return {"polls_per_second": polls / f["seconds"], "cpu_ms_per_poll": 1e3 * (cpu() - c0) / polls}


def pop_fetch(server, mails=500, sessions=40):
    """UIDL and RETR of all."""
    pop_users(server, 1, mails)
    pop_load("fetch", 1, 1, 1)
    c0 = cpu()
    f = pop_load("fetch", 1, sessions, 1)
    return {"mails_per_second": f["mails"] / f["seconds"], "cpu_ms_per_mail": 1e3 * (cpu() - c0) / f["mails"]}


def pop_logins(server, count=1000):
    """So many users at once, who stay: how long until all are in, and what memory each takes."""
    pop_users(server, count, 1)
    base = pss(server.pids())
    clients = subprocess.Popen([POP_LOAD, "hold", "100", str(count), str(count), "110"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    line = clients.stdout.readline()
    if not line:
        print(open("/var/log/mail.log").read()[-3000:], file=sys.stderr)
        raise SystemExit("not all could log in")
    figures = {"logins_per_second": count / float(line.split()[1]), "pss_kb_per_user": 1024 * (pss(server.pids()) - base) / count}
    clients.stdin.close()
    clients.wait()
    return figures


BENCHES = {"pop_poll": lambda s: pop_poll(s, False, 4000), "pop_poll_tls": lambda s: pop_poll(s, True, 2000), "pop_fetch": pop_fetch, "pop_logins": pop_logins,
           "local_parallel": local_parallel, "local_one": local_one, "local_sessions": lambda s: local_parallel(s, 20, 3000, 50),
           "local_list": local_list, "local_users": lambda s: local_parallel(s, 20, 10000, 10), "local_maildir": lambda s: local_burst(s, False),
           "local_mbox": lambda s: local_burst(s, True), "command_line": command_line, "relay": lambda s: relay_to(s, 1, 2000), "relay_100": lambda s: relay_to(s, 100, 2000),
           "relay_50x50": relay_50x50, "relay_25mb": relay_25mb, "idle": idle,
           **imap_rows.Rows(sys.modules[__name__]).benches()}

if __name__ == "__main__":
    import local_rows                # they take their tools from here
    import queue_rows
    import submission_rows
    BENCHES.update(local_rows.BENCHES)
    BENCHES.update(queue_rows.BENCHES)
    BENCHES.update(submission_rows.BENCHES)
    protocol = "imap" if sys.argv[2].startswith("imap_") else "pop3"
    server = {"veredus": Veredus, "postfix": Postfix, "openssl": submission_rows.OpenSsl, "dovecot": lambda: Dovecot(protocol), "dovecot-tuned": lambda: Dovecot(protocol, tuned=True)}[sys.argv[1]]()
    print("RESULT " + json.dumps(BENCHES[sys.argv[2]](server)))
