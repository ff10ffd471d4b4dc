"""The rows of make bench where IMAP clients talk to veredus and to Dovecot, on copies of the same Maildirs (bench/workload.py runs them)."""
import os
import re
import resource
import socket
import statistics
import subprocess
import sys
import time

LOAD = os.path.join(os.environ["E2E_TOP"], "build/bench/imap_load")
PORT = 143
APPLIED = 3        # seconds until what may be done late, when nobody waits for it, has been done: its CPU counts


class Rows:
    """`bench` is the module with what all rows share."""

    def __init__(self, bench):
        self.bench = bench

    def start(self, server, count, mails=0, folders=(), fill=None):
        """Users with the same passwords on both sides, in clear in a file, and the same mails."""
        resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
        self.bench.users(count)
        with open("/etc/bench.passwd", "w") as f:
            f.writelines(f"user{i}:{{PLAIN}}secret:{20000 + i}:{20000 + i}::/home/user{i}:/bin/sh:\n" for i in range(count))
        os.chmod("/etc/bench.passwd", 0o644)
        self.bench.certificate("/etc/bench.pem")
        for i in range(count):
            (fill or self.fill)(f"/home/user{i}/Maildir", mails, 20000 + i, 0)
        server.start("" if server.name == "dovecot" else "passdb = file:/etc/bench.passwd\nsmtpd_tls_chain_files = /etc/bench.pem\n"
                     "mail_max_userip_connections = 100\n")
        self.bench.step_aside()

    def fill(self, path, mails, uid, seed):
        subprocess.run([LOAD, "fill", path, str(mails), str(uid), str(seed)], check=True)

    def load(self, *words):
        done = subprocess.run([LOAD, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            fail(done.stdout)
        return float(re.search(r"seconds ([\d.]+)", done.stdout).group(1))

    def forget(self):
        """Nothing of the disk is left in memory."""
        os.sync()
        with open("/proc/sys/vm/drop_caches", "w") as f:
            f.write("3\n")

    # --- the rows

    def logins(self, server, count=3000):
        self.start(server, self.bench.USERS, 5)
        self.load("logins", PORT, 4, 2 * self.bench.USERS, self.bench.USERS)
        c0 = self.bench.cpu()
        seconds = self.load("logins", PORT, 20, count, self.bench.USERS)
        return {"logins_per_second": count / seconds, "cpu_ms_per_login": 1e3 * (self.bench.cpu() - c0) / count}

    def select(self, server, mails=50000):
        """A folder seen for the first time; again, by a server that was just started and with nothing in memory; and again."""
        self.start(server, 1, mails)
        with Talk() as t:
            first = t.ask("SELECT INBOX")
        time.sleep(APPLIED)
        server.stop()
        self.forget()
        server.start_again()
        with Talk() as t:
            cold = t.ask("SELECT INBOX")
            again = []
            for _ in range(9):
                again.append(t.ask("SELECT INBOX"))
        fresh = []
        for _ in range(5):
            with Talk() as t:
                fresh.append(t.ask("SELECT INBOX"))
        return {"first_ms": 1e3 * first, "cold_ms": 1e3 * cold, "warm_ms": 1e3 * statistics.median(again), "new_login_ms": 1e3 * statistics.median(fresh)}

    def fetch(self, server, mails=20000):
        self.start(server, 1, mails)
        envelope = "FETCH 1:* (ENVELOPE BODYSTRUCTURE)"
        with Talk() as t:
            t.ask("SELECT INBOX")
            out = {"flags_per_second": mails / t.median("FETCH 1:* (FLAGS)", 5)}
            c0 = self.bench.cpu()
            out["uncached_per_second"] = mails / t.ask(envelope)
            out["uncached_cpu_us"] = 1e6 * (self.bench.cpu() - c0) / mails
            out["second_per_second"] = mails / t.ask(envelope)
            t.ask(envelope)
            c0 = self.bench.cpu()
            out["cached_per_second"] = mails / t.median(envelope, 5)
            out["cached_cpu_us"] = 1e6 * (self.bench.cpu() - c0) / mails / 5
            out["list_per_second"] = mails / t.median("FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODY.PEEK[HEADER.FIELDS (REFERENCES)])", 5)
        time.sleep(APPLIED)
        server.stop()
        self.forget()
        server.start_again()
        with Talk() as t:
            t.ask("SELECT INBOX")
            out["cold_per_second"] = mails / t.ask(envelope)
        return out

    def search(self, server, mails=10000):
        self.start(server, 1, mails)
        out = {}
        with Talk() as t:
            t.ask("SELECT INBOX")
            t.ask("FETCH 1:* (ENVELOPE)")
            commands = {"subject": "SEARCH SUBJECT invoice", "body": "SEARCH BODY zanzibar", "text": "SEARCH TEXT zanzibar", "body_often": "SEARCH BODY customer",
                        "sort_subject": "SORT (SUBJECT) UTF-8 ALL", "sort_date": "SORT (REVERSE DATE) UTF-8 ALL", "sort_from": "SORT (FROM) UTF-8 ALL",
                        "thread": "THREAD REFERENCES UTF-8 ALL"}
            for name, command in commands.items():
                first = t.ask(command)
                if name in ("thread", "sort_subject"):
                    out[name + "_first_per_second"] = mails / first
                out[name + "_per_second"] = mails / t.median(command, 3 if "BODY" in command or "TEXT" in command else 15)
        return out

    def store(self, server, mails=10000):
        self.start(server, 1, mails)
        c0 = self.bench.cpu()
        out = {}
        with Talk() as t:
            t.ask("CREATE Copies")
            t.ask("CREATE Moved")
            t.ask("SELECT INBOX")
            for name, command in (("store", "STORE 1:* +FLAGS (\\Flagged)"), ("store_silent", "STORE 1:* +FLAGS.SILENT (\\Answered)"), ("copy", "COPY 1:* Copies"),
                                  ("move", "MOVE 1:* Moved")):
                out[name + "_per_second"] = mails / t.ask(command)
            t.ask("SELECT Moved")
            t.ask("STORE 1:* +FLAGS.SILENT (\\Deleted)")
            out["expunge_per_second"] = mails / t.ask("EXPUNGE")
        time.sleep(APPLIED)
        out["cpu_us_per_mail"] = 1e6 * (self.bench.cpu() - c0) / mails
        return out

    def append(self, server, mails=400):
        self.start(server, 16)
        out = {}
        for name, sessions, users, count in (("one", 1, 1, mails), ("16_users", 16, 16, 4 * mails), ("16_of_one_user", 16, 1, 2 * mails)):
            c0 = self.bench.cpu()
            out[name + "_per_second"] = count / self.load("append", PORT, sessions, count, users)
            out[name + "_cpu_ms"] = 1e3 * (self.bench.cpu() - c0) / count
        return out

    def body(self, server, small=5000, large=100, megabyte=1 << 20):
        """Mails of 3 KB, and of a megabyte."""
        def fill(path, mails, uid, seed):
            self.fill(path, small, uid, seed)
            self.fill(path + "/.Large", 0, uid, seed)
            line = "VGhlIHF1aWNrIGJyb3duIGZveCBqdW1wcyBvdmVyIHRoZSBsYXp5IGRvZyBhbmQgcnVucyBhd2F5\n"
            for n in range(large):
                name = f"{path}/.Large/cur/{1700000000 + n}.M{n}P1.bench:2,S"
                with open(name, "w") as f:
                    f.write(f"Subject: large {n}\nFrom: <bench@example.net>\nMIME-Version: 1.0\nContent-Type: application/octet-stream\n"
                            "Content-Transfer-Encoding: base64\n\n" + line * (megabyte // len(line)))
                os.chown(name, uid, uid)
        self.start(server, 1, fill=fill)
        out = {}
        with Talk() as t:
            for folder, name in (("INBOX", "small"), ("Large", "large")):
                t.ask("SELECT " + folder)
                t.ask("FETCH 1:* BODY.PEEK[]")
                c0 = self.bench.cpu()
                out[name + "_mb_per_second"] = 1 / t.median("FETCH 1:* BODY.PEEK[]", 5) * t.bytes / 1e6
                out[name + "_cpu_ms_per_mb"] = 1e3 * (self.bench.cpu() - c0) / (5 * t.bytes / 1e6)
        return out

    def memory(self, server):
        """1,000 users in IDLE, and 100 users with 10 connections each."""
        out = {}
        self.start(server, 1000, 20)
        out["idle_user_pss_kb"] = self.idle(server, 1000, 1000) / 1000
        base = self.idle(server, 100, 100)
        out["further_connection_pss_kb"] = (self.idle(server, 1000, 100) - base) / 900
        return out

    def idle(self, server, connections, users):
        """Proportional set size, in KB, of so many connections in IDLE: what the server has beyond what it has without."""
        server.stop()
        server.start_again()
        base = self.bench.pss(server.pids())
        clients = subprocess.Popen([LOAD, "idle", str(PORT), "20", str(connections), str(users)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if not clients.stdout.readline():
            fail("not all could log in")
        time.sleep(APPLIED)
        used = self.bench.pss(server.pids()) - base
        clients.stdin.close()
        clients.wait()
        return 1024 * used

    def mixed(self, server, users=50, rounds=4):
        def fill(path, mails, uid, seed):
            for folder, count in (("", 200), ("/.Sent", 0), ("/.Archive", 0)):
                self.fill(path + folder, count, uid, seed)
        self.start(server, users, fill=fill)
        self.load("mixed", PORT, users, 1)
        c0 = self.bench.cpu()
        seconds = self.load("mixed", PORT, users, rounds)
        return {"sessions_per_second": users * rounds / seconds, "cpu_ms_per_session": 1e3 * (self.bench.cpu() - c0) / (users * rounds)}

    def notice(self, server, mails=20):
        """From a mail's rename into new/, by another program, and from another session's APPEND, to the word in IDLE."""
        self.start(server, 1, 20)
        s = socket.create_connection(("127.0.0.1", PORT))
        wire = s.makefile("rwb")

        def say(words, until):
            wire.write(words + b"\r\n")
            wire.flush()
            while not wire.readline().startswith(until):
                pass
        wire.readline()
        say(b"a LOGIN user0 secret", b"a OK")
        say(b"b SELECT INBOX", b"b OK")
        say(b"c IDLE", b"+ ")

        def seen():
            while b" EXISTS" not in (line := wire.readline()):
                if not line:
                    fail("the connection ended")
        delivered, appended = [], []
        box = "/home/user0/Maildir"
        for n in range(mails):
            name = f"{1800000000 + n}.M{n}P2.bench"
            with open(f"{box}/tmp/{name}", "w") as f:
                f.write("Subject: news\n\nbody\n")
            os.chown(f"{box}/tmp/{name}", 20000, 20000)
            time.sleep(0.2)
            begin = time.monotonic()
            os.rename(f"{box}/tmp/{name}", f"{box}/new/{name}")
            seen()
            delivered.append(time.monotonic() - begin)
        with Talk() as t:
            for _ in range(mails):
                time.sleep(0.1)
                begin = time.monotonic()
                t.ask("APPEND INBOX {4+}\\r\\n\\r\\nx\\n")
                seen()
                appended.append(time.monotonic() - begin)
        return {"delivery_ms": 1e3 * statistics.median(delivered), "delivery_worst_ms": 1e3 * max(delivered), "append_ms": 1e3 * statistics.median(appended)}

    def benches(self):
        return {"imap_logins": self.logins, "imap_select": self.select, "imap_fetch": self.fetch, "imap_search": self.search, "imap_store": self.store,
                "imap_append": self.append, "imap_body": self.body, "imap_memory": self.memory, "imap_mixed": self.mixed, "imap_idle": self.notice}


class Talk:
    """A client of user0 that says how long each command took. In a command, \\r and \\n stand for those."""

    def __enter__(self):
        self.client = subprocess.Popen([LOAD, "talk", str(PORT), "0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.read()
        return self

    def __exit__(self, *_):
        self.client.stdin.close()
        self.client.wait()

    def read(self):
        line = self.client.stdout.readline()
        if not line:
            fail("the client ended")
        return line

    def ask(self, command):
        self.client.stdin.write(command + "\n")
        self.client.stdin.flush()
        seconds, size = self.read().split()
        self.bytes = int(size)
        return float(seconds)

    def median(self, command, times):
        return statistics.median(self.ask(command) for _ in range(times))


def fail(why):
    print(open("/var/log/mail.log").read()[-3000:], file=sys.stderr)
    raise SystemExit(why)
