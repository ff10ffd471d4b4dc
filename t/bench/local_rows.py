"""The rows of `make bench` about delivery alone: from a queue that was filled before, to virtual users of one account, and over LMTP."""
import glob
import os
import re
import socket
import subprocess
import sys
import time

from workload import LOAD, Arrivals, Mbox, bare, cpu, maildirs, make_maildir, send_list, sh, step_aside, users

VMAIL = 5000


def push(connections, mails, per_session, size, user_count, port=25, *more):
    done = subprocess.run([LOAD, str(connections), str(mails), str(per_session), str(size), str(user_count), "127.0.0.1", str(port), *more],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        print(open("/var/log/mail.log").read()[-3000:], file=sys.stderr)
        raise SystemExit(done.stdout[-1000:])
    return {k: float(v) for k, v in re.findall(r"(\w+) ([\d.]+)", done.stdout)}


def measured(arrivals, wanted, deliveries, what, unit="mail"):
    """What `what` starts, until `wanted` mails have arrived."""
    c0, begin = cpu(), time.monotonic()
    more = what() or {}
    arrivals.wait_for(wanted)
    seconds = time.monotonic() - begin
    more = {k: v for k, v in more.items() if k == "ack_p95_ms"}
    return {f"{'deliveries' if unit == 'delivery' else 'mails'}_per_second": deliveries / seconds, f"cpu_ms_per_{unit}": 1e3 * (cpu() - c0) / deliveries, **more}


def release(server):
    """Mail for local stands in the queue by defer_transports; that is taken back, and all of it is tried now."""
    if server.name == "veredus":
        path = "/etc/veredus/main.cf"
        with open(path) as f:
            text = f.read()
        with open(path, "w") as f:
            f.write(text.replace("defer_transports = local\n", ""))
        sh("veredus", "reload")
        sh("veredus", "flush")
    else:
        sh("postconf", "-e", "defer_transports =")
        sh("postfix", "reload")
        sh("postqueue", "-f")


def waiting(server):
    """Mails that were tried once and wait."""
    root = "/var/spool/" + server.name + "/deferred"
    return sum(len(files) for _, _, files in os.walk(root))


def flush(server, mbox, mails=10000):
    """Many mails for one user stand in the queue: how fast do they get from there into his mailbox?"""
    users(1)
    make_maildir("/home/user0/Maildir", 20000)
    server.start("defer_transports = local\n" + ("home_mailbox = mbox\n" if mbox else ""))
    step_aside()
    push(20, mails, 20, 4096, 1)
    end = time.monotonic() + 120
    while waiting(server) < mails:
        if time.monotonic() > end:
            raise SystemExit(f"only {waiting(server)} of {mails} mails wait")
        time.sleep(0.1)
    arrivals = Mbox("/home/user0/mbox") if mbox else Arrivals(*maildirs())
    return measured(arrivals, mails, mails, lambda: release(server))


def virtual(server, count):
    """So many virtual users, whose mail one account keeps."""
    sh("groupadd", "-g", str(VMAIL), "vmail")
    sh("useradd", "-u", str(VMAIL), "-g", "vmail", "-d", "/home/vmail", "-s", "/usr/sbin/nologin", "vmail")
    os.makedirs("/home/vmail")
    os.chown("/home/vmail", VMAIL, VMAIL)
    for i in range(count):
        os.mkdir(f"/home/vmail/user{i}", mode=0o700)
        os.chown(f"/home/vmail/user{i}", VMAIL, VMAIL)
        make_maildir(f"/home/vmail/user{i}/Maildir", VMAIL)
    with open("/etc/bench.mailboxes", "w") as f:
        f.writelines(f"user{i}@v.example.net user{i}/Maildir/\n" for i in range(count))
    users(1)
    server.start("virtual_mailbox_domains = v.example.net\nvirtual_mailbox_maps = texthash:/etc/bench.mailboxes\nvirtual_mailbox_base = /home/vmail\n"
                 f"virtual_uid_maps = static:{VMAIL}\nvirtual_gid_maps = static:{VMAIL}\n")
    step_aside()
    return Arrivals(*glob.glob("/home/vmail/*/Maildir/new"))


def virtual_list(server, recipients=1000):
    """One mail to many virtual users."""
    arrivals = virtual(server, recipients)
    push(1, 5, 1, 8192, 1, 25, "v.example.net")
    arrivals.wait_for(5)
    found = measured(arrivals, 5 + recipients, recipients, lambda: send_list([f"user{i}@v.example.net" for i in range(recipients)]), "delivery")
    return {**found, **bare(server, "account", recipients)}


def virtual_users(server, count=100, mails=10000):
    """Mails for many virtual users at once."""
    arrivals = virtual(server, count)
    push(4, 200, 1, 8192, count, 25, "v.example.net")
    arrivals.wait_for(200)
    found = measured(arrivals, 200 + mails, mails, lambda: push(20, mails, 10, 8192, count, 25, "v.example.net"))
    return {**found, **bare(server, "mails", 3000, count, "queue")}


def start_dovecot_lmtp():
    for name in ("dovecot", "dovenull"):
        sh("useradd", "-r", "-U", "-d", "/nonexistent", "-s", "/usr/sbin/nologin", name)
    with open("/etc/dovecot/bench.conf", "w") as f:
        f.write("protocols = lmtp\nlisten = 127.0.0.1\nssl = no\nmail_location = maildir:~/Maildir\nlog_path = /var/log/mail.log\nfirst_valid_uid = 1000\n"
                "userdb {\n driver = passwd\n}\npassdb {\n driver = static\n args = nopassword=y\n}\n"
                "service lmtp {\n inet_listener lmtp {\n address = 127.0.0.1\n port = 24\n }\n}\nauth_username_format = %n\n")
    subprocess.run(["/usr/sbin/dovecot", "-c", "/etc/dovecot/bench.conf"], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def await_lmtp():
    for _ in range(1000):
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", 24)) == 0:
                return
        time.sleep(0.01)
    raise SystemExit("nobody answers at port 24:\n" + open("/var/log/mail.log").read()[-3000:])


def lmtp_burst(server, count=100, mails=5000):
    """Mails that another host hands in over LMTP: each is in its user's Maildir before its reply."""
    users(count)
    if server.name == "dovecot":
        start_dovecot_lmtp()
    else:
        server.start("lmtp_listen = 127.0.0.1:24\n")
    await_lmtp()
    step_aside()
    for i in range(count):
        make_maildir(f"/home/user{i}/Maildir", 20000 + i)
    arrivals = Arrivals(*maildirs())
    push(4, 200, 10, 8192, count, 24, "example.org", "lmtp")
    arrivals.wait_for(200)
    found = measured(arrivals, 200 + mails, mails, lambda: push(20, mails, 10, 8192, count, 24, "example.org", "lmtp"))
    return {**found, **bare(server, "mails", 3000, count, "direct")}


BENCHES = {"flush_maildir": lambda s: flush(s, False), "flush_mbox": lambda s: flush(s, True), "virtual_list": virtual_list, "virtual_users": virtual_users,
           "lmtp_burst": lmtp_burst}
