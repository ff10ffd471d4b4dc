"""The rows of `make bench` about the servers that take mail: submission under TLS with logins, full handshakes, a thousand recipients in one
write, and what an idle client costs."""
import os
import re
import resource
import socket
import subprocess
import time

from workload import TOP, USERS, certificate, cpu, pids, pss, sh, step_aside, users, wait_delivered

LOGIN_LOAD, TLS_LOAD = (os.path.join(TOP, "build/bench", tool) for tool in ("login_load", "tls_load"))


class OpenSsl:
    """s_server: a handshake and nothing else, which is what the machine can do."""
    name = "openssl"

    def start(self, extra):
        subprocess.Popen(["openssl", "s_server", "-accept", "465", "-cert", "/etc/bench.pem", "-www"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL)

    def pids(self):
        return pids(r"^openssl s_server")


def await_port(port):
    for _ in range(1000):
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise SystemExit(f"nobody answers at port {port}:\n" + (open("/var/log/mail.log").read()[-3000:] if os.path.exists("/var/log/mail.log") else ""))


def rsa_certificate(path):
    sh("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "9", "-subj", "/CN=mail.example.org", "-keyout", path, "-out", path + ".crt")
    with open(path, "a") as key, open(path + ".crt") as made:
        key.write(made.read())


KINDS = {"p256": certificate, "rsa": rsa_certificate}


def postfix_submission():
    """Port 587 as Debian's master.cf has it in comments, its passwords asked from Dovecot as Postfix's SASL_README says."""
    with open("/etc/postfix/master.cf", "a") as f:
        f.write("submission inet n - n - - smtpd\n  -o syslog_name=postfix/submission\n  -o smtpd_tls_security_level=encrypt\n  -o smtpd_sasl_auth_enable=yes\n"
                "  -o smtpd_tls_auth_only=yes\n  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject\n  -o smtpd_recipient_restrictions=\n")
    for name in ("dovecot", "dovenull"):
        sh("useradd", "-r", "-U", "-d", "/nonexistent", "-s", "/usr/sbin/nologin", name)
    with open("/etc/dovecot/bench.conf", "w") as f:
        f.write("protocols =\nssl = no\nlog_path = /var/log/dovecot.log\ndisable_plaintext_auth = no\npassdb {\n driver = passwd-file\n args = /etc/bench.passwd\n}\n"
                "userdb {\n driver = passwd\n}\nauth_mechanisms = plain login\n"
                "service auth {\n unix_listener /var/spool/postfix/private/auth {\n  mode = 0666\n }\n}\n")
    subprocess.run(["/usr/sbin/dovecot", "-c", "/etc/dovecot/bench.conf"], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    sh("/usr/sbin/postfix", "reload")


def passwords(count, scheme):
    """The same file on both sides: SHA512-CRYPT, as Debian's tools make it, or PLAIN, where there is no hash to compute and none to spare."""
    users(count)
    secrets = {"PLAIN": lambda: "{PLAIN}secret", "SHA512-CRYPT": lambda: "{SHA512-CRYPT}" + sh("openssl", "passwd", "-6", "secret").strip()}
    with open("/etc/bench.passwd", "w") as f:
        f.writelines(f"user{i}:{secrets[scheme]()}:{20000 + i}:{20000 + i}::/home/user{i}:/bin/sh:\n" for i in range(count))
    os.chmod("/etc/bench.passwd", 0o644)


def forget_logins():
    """A passdb that has changed clears what authd knows of passwords: the first login of each user costs a hash again."""
    def told():
        return open("/var/log/mail.log").read().count("users are in force")
    before = told()
    with open("/etc/bench.passwd") as old, open("/etc/bench.passwd.new", "w") as new:
        new.write(old.read() + "# changed\n")
    os.chmod("/etc/bench.passwd.new", 0o644)
    os.rename("/etc/bench.passwd.new", "/etc/bench.passwd")
    end = time.monotonic() + 20
    while told() == before:
        if time.monotonic() > end:
            raise SystemExit("authd does not see the new passdb")
        time.sleep(0.05)


def msa(server, certificate_kind, scheme="SHA512-CRYPT", connections=20, mails=4000):
    """Submission: STARTTLS with a full handshake, AUTH PLAIN, one mail, QUIT; into the users' Maildirs."""
    passwords(USERS, scheme)
    KINDS[certificate_kind]("/etc/bench.pem")
    if server.name == "veredus":
        server.start("passdb = file:/etc/bench.passwd\nsmtpd_tls_chain_files = /etc/bench.pem\nsubmission_listen = 587\n")
    else:
        server.start("smtpd_tls_chain_files = /etc/bench.pem\nsmtpd_sasl_type = dovecot\nsmtpd_sasl_path = private/auth\n")
        postfix_submission()
    await_port(587)
    step_aside()

    def push(count):
        out = sh(LOGIN_LOAD, str(connections), str(count), "8192", str(USERS), "127.0.0.1", "587", "example.org")
        return {k: float(v) for k, v in re.findall(r"(\w+) ([\d.]+)", out)}
    push(2 * USERS)
    wait_delivered(2 * USERS)
    if server.name == "veredus":
        forget_logins()
    c0, g0, begin = cpu(), cpu("BENCH_ASIDE"), time.monotonic()
    f = push(mails)
    load_ms = 1e3 * (cpu("BENCH_ASIDE") - g0) / mails
    wait_delivered(2 * USERS + mails)
    return {"mails_per_second": mails / (time.monotonic() - begin), "cpu_ms_per_mail": 1e3 * (cpu() - c0) / mails, "ack_p95_ms": f["ack_p95_ms"],
            "load_cpu_ms_per_mail": load_ms}      # of the client, on the same cores: no server makes that less


def handshakes(server, kind, seconds=5):
    """Full handshakes, four at a time, with submission's port 465 or a bare openssl s_server."""
    users(1)
    KINDS[kind]("/etc/bench.pem")
    server.start("" if server.name == "openssl" else "smtpd_tls_chain_files = /etc/bench.pem\nsubmission_listen = 465/tls\n")
    await_port(465)
    step_aside()
    sh(TLS_LOAD, "4", "1", "127.0.0.1", "465")
    c0 = cpu()
    count, took = re.search(r"handshakes (\d+) seconds ([\d.]+)", sh(TLS_LOAD, "4", str(seconds), "127.0.0.1", "465")).groups()
    return {"handshakes_per_second": int(count) / float(took), "cpu_ms_per_handshake": 1e3 * (cpu() - c0) / int(count)}


def rcpt_burst(server, recipients=1000, bursts=5):
    """So many RCPT in one write, of mailboxes that nobody has asked for before: until the last reply. They are in a table: in a long
    /etc/passwd it is the C library that both would wait for."""
    with open("/etc/bench.boxes", "w") as f:
        f.writelines(f"user{i}@v.example.org user{i}/\n" for i in range(recipients * (bursts + 1)))
    users(1)
    server.start("virtual_mailbox_domains = v.example.org\nvirtual_mailbox_maps = texthash:/etc/bench.boxes\nvirtual_mailbox_base = /home\n"
                 "virtual_uid_maps = static:20000\nvirtual_gid_maps = static:20000\n")
    step_aside()
    times = []

    def burst(first):
        with socket.create_connection(("127.0.0.1", 25)) as s:
            replies = s.makefile("rb")
            replies.readline()
            s.sendall(b"EHLO bench.example.net\r\n")
            while replies.readline()[3:4] == b"-":
                pass
            text = b"MAIL FROM:<bench@example.net>\r\n" + b"".join(b"RCPT TO:<user%d@v.example.org>\r\n" % i for i in range(first, first + recipients))
            begin = time.monotonic()
            s.sendall(text)
            for _ in range(recipients + 1):
                reply = replies.readline()
                if not reply.startswith(b"250 "):
                    raise SystemExit(f"unexpected: {reply}")
            times.append(time.monotonic() - begin)
            s.sendall(b"QUIT\r\n")
            replies.readline()
    burst(0)
    times.clear()
    c0 = cpu()
    for i in range(bursts):
        burst((i + 1) * recipients)
    return {"burst_ms": 1e3 * sorted(times)[bursts // 2], "cpu_ms_per_burst": 1e3 * (cpu() - c0) / bursts}


def idle_smtp(server):
    """Memory of a client who has said EHLO and sends nothing more, in clear."""
    count = 5000 if server.name == "veredus" else 80     # a process each, of which there are a hundred
    resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
    users(1)
    server.start("smtpd_timeout = 600s\n")
    socks = []

    def connect(number):
        for i in range(len(socks), number):
            s = socket.socket()
            s.bind((f"127.0.{1 + i // 200}.{1 + i % 200}", 0))
            s.connect(("127.0.0.1", 25))
            s.recv(100)
            s.sendall(b"EHLO x\r\n")
            s.recv(1000)
            socks.append(s)
    connect(count // 20)
    base, few = pss(server.pids()), len(socks)
    connect(count)
    return {"kb_per_session": 1024 * (pss(server.pids()) - base) / (count - few)}


BENCHES = {"msa_tls": lambda s: msa(s, "p256"), "msa_tls_rsa": lambda s: msa(s, "rsa"), "msa_tls_plain": lambda s: msa(s, "p256", "PLAIN"),
           "handshakes_p256": lambda s: handshakes(s, "p256"),
           "handshakes_rsa": lambda s: handshakes(s, "rsa"), "rcpt_burst": rcpt_burst, "idle_smtp": idle_smtp}
