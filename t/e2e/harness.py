"""What the end-to-end tests share: the installed suite in this test's namespaces, users, peers, waiting for conditions."""
import contextlib
import json
import os
import pwd
import re
import shutil
import smtplib
import socket
import subprocess
import sys
import time

TOP = os.environ.get("E2E_TOP") or os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SCRATCH = os.environ.get("E2E_SCRATCH", "/tmp")
LOG = "/var/log/mail.log"
PATIENCE = 60          # seconds until a condition counts as never true


def stay_inside():
    """A test that was started by hand would work on the machine itself: it has to come by t/e2e/run, which lays overlays over what it writes."""
    try:
        with open(sys.argv[0]) as f:
            if re.search(r'^NEEDS = "user"', f.read(), re.M):
                return
    except OSError:
        pass
    with open("/proc/self/mountinfo") as f:
        if not any(line.split()[4] == "/etc" and " - overlay " in line for line in f):
            sys.exit(f"{sys.argv[0]}: outside of the tests' namespaces it would change this machine: t/e2e/run {os.path.basename(sys.argv[0])}")


stay_inside()


class Failure(Exception):
    pass


def check(condition, text):
    if not condition:
        raise Failure(text)


def wait_for(condition, what, patience=PATIENCE):
    """The first true value of condition(); never a fixed sleep."""
    end = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failure(f"waited {patience} s in vain for: {what}")
        time.sleep(0.02)


def run(*command, input=None, user=None, env=None, ok=(0,), timeout=60, cwd=None):
    """Runs to the end; output as text. `ok` None takes any exit status."""
    if isinstance(input, str):
        input = input.encode()
    if user:
        command = ("setpriv", f"--reuid={user}", f"--regid={pwd.getpwnam(user).pw_gid}", "--init-groups", *command)
    done = subprocess.run(command, input=input if input is not None else b"", stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env={**os.environ, **(env or {})}, timeout=timeout, cwd=cwd)
    done.text = done.stdout.decode("utf-8", "replace")
    if ok is not None and done.returncode not in ok:
        raise Failure(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.text}")
    return done


class Suite:
    """The installed suite: settings, start, stop, log."""

    def __init__(self, settings="", users=("alice", "bob"), start=True, setup=True):
        for user in users:
            self.add_user(user)
        os.makedirs("/etc/veredus", exist_ok=True)
        with open("/etc/aliases", "w") as f:
            f.write("postmaster: root\nroot: alice\nmailer-daemon: postmaster\n")
        self.settings(settings)
        if setup:
            run("veredus", "setup")
        if start:
            self.start()

    @staticmethod
    def add_user(name):
        try:
            pwd.getpwnam(name)
        except KeyError:
            run("useradd", "-m", "-s", "/bin/sh", name)
        os.chmod(pwd.getpwnam(name).pw_dir, 0o755)

    def settings(self, text):
        with open("/etc/veredus/main.cf", "w") as f:
            f.write("myhostname = mail.example.org\nmydestination = $myhostname, example.org, localhost\n"
                    f"myorigin = example.org\nmaillog_file = {LOG}\nmynetworks = 127.0.0.0/8 [::1]/128\n" + text + "\n")

    def start(self):
        run("veredus", "start")

    def stop(self):
        run("veredus", "stop")

    def reload(self):
        run("veredus", "reload")

    def log(self):
        try:
            with open(LOG, errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def wait_log(self, pattern, count=1):
        """Waits until the log has `count` lines that match; returns the matches."""
        def found():
            matches = list(re.finditer(pattern, self.log(), re.M))
            return matches if len(matches) >= count else None
        return wait_for(found, f"log line {pattern!r}")

    def wait_empty(self):
        # From the maildrop a mail goes to incoming, and only then the queue manager hears of it: looked for in this order none slips through.
        ways_in = [f"/var/spool/veredus/{way}/new" for way in ("maildrop", "incoming/smtpd", "incoming/submission", "incoming/lmtpd", "incoming/internal")]
        wait_for(lambda: not any(os.path.isdir(way) and os.listdir(way) for way in ways_in) and run("mailq").text == "Mail queue is empty\n", "an empty queue")

    def pids(self, program):
        out = subprocess.run(["pgrep", "-f", f"/usr/libexec/veredus/{program}( |$)"], stdout=subprocess.PIPE, text=True).stdout
        return [int(p) for p in out.split()]


def mbox(user):
    try:
        with open(f"/var/mail/{user}", errors="surrogateescape", newline="") as f:
            return f.read()
    except FileNotFoundError:
        return ""


def maildir(path):
    """The messages of new/ and cur/, oldest first."""
    out = []
    for sub in ("new", "cur"):
        with contextlib.suppress(FileNotFoundError):
            for name in sorted(os.listdir(os.path.join(path, sub))):
                with open(os.path.join(path, sub, name), errors="surrogateescape", newline="") as f:
                    out.append(f.read())
    return out


def wait_mail(user, pattern, count=1):
    """Waits until the user's mbox has `count` matches."""
    def found():
        text = mbox(user)
        return text if len(re.findall(pattern, text, re.M)) >= count else None
    return wait_for(found, f"mail for {user} with {pattern!r}")


def getmail_into(got):
    """The [destination] of a getmailrc that stores into the Maildir `got`: a program that lives on for a moment, see getmail()."""
    store = f"cat >{got}/tmp/$$ && mv {got}/tmp/$$ {got}/new/$$.$(date +%s%N) && sleep 0.05"
    return f"[destination]\ntype = MDA_external\npath = /bin/sh\narguments = ('-c', '{store}')\n".replace("%", "%%")


def getmail(user, folder, rc, got, count):
    """Runs getmail until `got` has all mails. It forks for each mail it stores, and waits a minute for a child whose end came before
    the wait began (its own Maildir destination ends that soon); so a run that takes long is begun anew, without what it has stored
    and remembers."""
    home = pwd.getpwnam(user).pw_dir
    for _ in range(14):
        for name in os.listdir(folder):
            if name != rc:
                os.unlink(os.path.join(folder, name))
        for sub in ("cur", "new", "tmp"):
            for name in os.listdir(os.path.join(got, sub)):
                os.unlink(os.path.join(got, sub, name))
        with contextlib.suppress(subprocess.TimeoutExpired):
            done = run("getmail", "-g", folder, "-r", rc, user=user, env={"HOME": home}, timeout=10)
            return check(len(maildir(got)) == count, f"getmail brought {len(maildir(got))} mails of {count}\n{done.text}")
    raise Failure("getmail came to no end in fourteen runs")


def wait_listening(port):
    """Until somebody listens at that port of IPv4; nobody is connected to."""
    def listens():
        with open("/proc/net/tcp") as f:
            return any(words[1].endswith(f":{port:04X}") and words[3] == "0A" for words in (line.split() for line in f))
    wait_for(listens, f"a listener at port {port}")


def send(sender, recipients, body, host="127.0.0.1", port=25):
    with smtplib.SMTP(host, port, timeout=PATIENCE, local_hostname="client.example.net") as s:
        return s.sendmail(sender, recipients, body)


def message(subject, to="alice@example.org", sender="carol@example.net", body="hello\n", extra=""):
    return f"From: {sender}\nTo: {to}\nSubject: {subject}\n{extra}\n{body}"


def talk(lines, host="127.0.0.1", port=25):
    """Raw SMTP: sends each line after the answer to the one before; returns all answers."""
    answers = []
    with socket.create_connection((host, port), timeout=PATIENCE) as s:
        f = s.makefile("rb")

        def answer():
            out = b""
            while True:
                line = f.readline()
                out += line
                if not line or line[3:4] != b"-":
                    return out.decode("utf-8", "replace")
        answers.append(answer())
        for line in lines:
            s.sendall(line if isinstance(line, bytes) else line.encode() + b"\r\n")
            answers.append(answer())
    return answers


def fail2ban_finds(name, options="", log=LOG):
    "the addresses that a filter of fail2ban, or our own, finds in a log, one for each line; and all that fail2ban-regex says"
    peers = f"{TOP}/build/peers/fail2ban"
    config = "/run/fail2ban"
    if not os.path.exists(config):
        shutil.copytree(f"{peers}/etc/fail2ban", config)
        shutil.copy("/etc/fail2ban/filter.d/veredus.conf", f"{config}/filter.d/veredus.conf")
    out = run("/usr/bin/python3", f"{peers}/usr/bin/fail2ban-regex", "-c", config, "-v", log, f"{config}/filter.d/{name}.conf{options}",
              env={"PYTHONPATH": f"{peers}/usr/lib/python3/dist-packages"}).text
    return re.findall(r"^\|\s+(127\.\S+)\s", out, re.M), out


class Network:
    """A second host in a network namespace of its own: 192.0.2.1 is us, 192.0.2.2 and on are the peer's."""

    def __init__(self, addresses=("192.0.2.2",)):
        run("ip", "netns", "add", "peer")
        run("ip", "link", "add", "us", "type", "veth", "peer", "name", "them", "netns", "peer")
        run("ip", "addr", "add", "192.0.2.1/24", "dev", "us")
        run("ip", "addr", "add", "2001:db8::1/64", "dev", "us", "nodad")
        run("ip", "link", "set", "us", "up")
        inside = ("ip", "netns", "exec", "peer")
        run(*inside, "ip", "link", "set", "lo", "up")
        for a in addresses:
            run(*inside, "ip", "addr", "add", f"{a}/{64 if ':' in a else 24}", "dev", "them", *(("nodad",) if ":" in a else ()))
        run(*inside, "ip", "link", "set", "them", "up")
        self.inside = inside

    def popen(self, *command, **more):
        return subprocess.Popen((*self.inside, *map(str, command)), **more)


class Dns:
    """The tests' DNS server on 127.0.0.53 (t/e2e/dns_server.py)."""

    def __init__(self, zone, *options):
        self.path = os.path.join(SCRATCH, "zone")
        self.set(zone)
        self.process = subprocess.Popen([sys.executable, os.path.join(TOP, "t/e2e/dns_server.py"), "--zone", self.path,
                                         "--address", "127.0.0.53", "--port", "53", *options])

        def answers():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                s.settimeout(0.2)
                s.connect(("127.0.0.53", 53))
                try:
                    s.send(b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x05probe\x04test\x00\x00\x01\x00\x01")
                    return s.recv(512)
                except OSError:
                    return None
        wait_for(answers, "the DNS server")

    def set(self, zone):
        with open(self.path + ".new", "w") as f:
            f.write(zone)
        os.rename(self.path + ".new", self.path)

    def stop(self):
        self.process.kill()
        self.process.wait()


class FakeMx:
    """t/e2e/fake_mx.py on the peer's side of a Network (or here, when network is None)."""

    def __init__(self, network, address, port=25, tls=False):
        import tempfile
        self.directory = tempfile.mkdtemp(prefix="mx-", dir=SCRATCH)
        extra = []
        if tls:
            run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", "/CN=fake.example.net",
                "-keyout", self.directory + "/key.pem", "-out", self.directory + "/cert.pem")
            extra = [self.directory + "/cert.pem", self.directory + "/key.pem"]
        command = [sys.executable, os.path.join(TOP, "t/e2e/fake_mx.py"), address, str(port), self.directory, *extra]
        self.process = network.popen(*command) if network else subprocess.Popen(command)
        wait_for(lambda: os.path.exists(self.directory + "/ready"), "the fake MX")

    def rules(self, *rules):
        self._write("rules.json", list(rules))

    def capabilities(self, *words):
        self._write("capabilities.json", list(words))

    def _write(self, name, value):
        with open(f"{self.directory}/{name}.new", "w") as f:
            json.dump(value, f)
        os.rename(f"{self.directory}/{name}.new", f"{self.directory}/{name}")

    def mails(self):
        """[(envelope, content bytes)], oldest first."""
        out = []
        for name in sorted(os.listdir(self.directory)):
            if name.endswith(".eml"):
                with open(f"{self.directory}/{name[:-4]}.json") as e, open(f"{self.directory}/{name}", "rb") as c:
                    out.append((json.load(e), c.read()))
        return out

    def wait(self, count):
        return wait_for(lambda: self.mails() if len(self.mails()) >= count else None, f"{count} mails at the fake MX")

    def stop(self):
        self.process.kill()
        self.process.wait()


def main(*tests):
    """Runs the test functions of a file; prints the log's end when one fails."""
    sys.stdout.reconfigure(line_buffering=True)
    status = 0
    for test in tests:
        print(f"-- {test.__name__}: {(test.__doc__ or '').strip()}")
        try:
            test()
        except BaseException as error:
            status = 1
            import traceback
            if not isinstance(error, Failure):
                traceback.print_exc()
            print(f"FAILED {test.__name__}: {error}")
            if os.path.exists(LOG):
                with open(LOG, errors="replace") as f:
                    print("-- end of the log:\n" + "".join(f.readlines()[-60:]))
            break
    with contextlib.suppress(Exception):
        subprocess.run(["veredus", "stop"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=30)
    sys.exit(status)
