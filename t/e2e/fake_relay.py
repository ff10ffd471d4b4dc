"""A relay in the test's own process: SMTP or LMTP, with STARTTLS or TLS from the first byte on, and AUTH before MAIL when it has passwords."""
import base64
import hashlib
import hmac
import os
import re
import socket
import ssl
import threading

import harness


def certificates(directory, name):
    """An authority and a server's certificate for `name` signed by it: paths of ca.pem and server.pem."""
    ca, key, request, server = (os.path.join(directory, f) for f in ("ca.pem", "ca.key", "request.pem", "server.pem"))
    ec = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    harness.run("openssl", "req", "-x509", *ec, "-days", "30", "-subj", "/CN=Test Authority", "-keyout", key, "-out", ca)
    harness.run("openssl", "req", *ec, "-subj", f"/CN={name}", "-keyout", server, "-out", request)
    with open(directory + "/names", "w") as f:
        f.write(f"subjectAltName=DNS:{name}\n")
    signed = harness.run("openssl", "x509", "-req", "-in", request, "-CA", ca, "-CAkey", key, "-CAcreateserial", "-days", "30", "-extfile", directory + "/names")
    with open(server, "a") as f:
        f.write(signed.text[signed.text.index("-----BEGIN"):])
    return ca, server


class Relay:
    def __init__(self, address, certificate=None, wrapper=False, passwords=None, mechanisms="PLAIN LOGIN", lmtp=False, capabilities=("PIPELINING", "8BITMIME")):
        self.context = None
        if certificate:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(certificate)
        self.wrapper, self.passwords, self.mechanisms, self.lmtp, self.capabilities = wrapper, passwords, mechanisms, lmtp, capabilities
        self.mails, self.commands, self.connections = [], [], 0
        self.answers = {}    # of RCPT and of the end of the content, by recipient: {"end bob": "452 full"}
        if isinstance(address, str):
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(address)
            self.listener.listen(20)
        else:
            self.listener = socket.create_server(address)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            self.connections += 1
            threading.Thread(target=self.guarded, args=(client,), daemon=True).start()

    def guarded(self, client):
        try:
            self.serve(client)
        except (OSError, EOFError, ValueError):
            pass
        finally:
            client.close()

    def serve(self, client):
        tls = bool(self.wrapper)
        if tls:
            client = self.context.wrap_socket(client, server_side=True)
        stream = client.makefile("rb")
        who = sender = mechanism = None
        rcpts, params = [], ""

        def say(text):
            client.sendall(text.encode() + b"\r\n")

        def line():
            raw = stream.readline(100000)
            if not raw:
                raise EOFError
            return raw.decode("utf-8", "surrogateescape").rstrip("\r\n")

        def ask(challenge):
            say("334 " + base64.b64encode(challenge).decode())
            return base64.b64decode(line(), validate=True)

        say("220 relay.example.net ESMTP")
        while True:
            text = line()
            self.commands.append(text)
            verb = text.split(" ")[0].upper()
            if verb in ("EHLO", "LHLO"):
                if (verb == "LHLO") != self.lmtp:
                    say("500 5.5.1 the other hello")
                    continue
                words = ["relay.example.net", *self.capabilities] + (["STARTTLS"] if self.context and not tls else [])
                words += ["AUTH " + self.mechanisms] if self.passwords is not None else []
                for n, word in enumerate(words):
                    say(("250 " if n == len(words) - 1 else "250-") + word)
            elif verb == "STARTTLS" and self.context and not tls:
                say("220 2.0.0 go")
                client, tls = self.context.wrap_socket(client, server_side=True), True
                stream = client.makefile("rb")
            elif verb == "AUTH" and self.passwords is not None:
                _, mechanism, *initial = text.split(" ")
                who = getattr(self, "auth_" + mechanism.lower().replace("-", "_"))(ask, base64.b64decode(initial[0]) if initial else None)
                say("235 2.7.0 welcome" if who else "535 5.7.8 wrong name or password")
            elif verb == "MAIL":
                if self.passwords is not None and not who:
                    say("530 5.7.0 authentication required")
                    continue
                sender, params, rcpts = re.search("<(.*?)>", text).group(1), text.split(">", 1)[1].strip(), []
                say("250 2.1.0 ok")
            elif verb == "RCPT":
                rcpt = re.search("<(.*?)>", text).group(1)
                answer = self.answers.get("rcpt " + rcpt, "250 2.1.5 ok")
                if answer.startswith("2"):
                    rcpts.append(rcpt)
                say(answer)
            elif verb in ("DATA", "BDAT"):
                if not rcpts:
                    say("554 5.5.1 no valid recipients")
                    continue
                if verb == "BDAT":
                    content = stream.read(int(text.split(" ")[1]))
                else:
                    say("354 go")
                    content = b""
                    while (raw := stream.readline()) != b".\r\n":
                        if not raw:
                            raise EOFError
                        content += raw[1:] if raw.startswith(b".") else raw
                answers = [self.answers.get("end " + r, "250 2.0.0 taken for " + r) for r in (rcpts if self.lmtp else rcpts[:1])]
                taken = [r for r, a in zip(rcpts, answers) if a.startswith("2")] if self.lmtp else rcpts
                if taken and answers[0 if not self.lmtp else rcpts.index(taken[0])].startswith("2"):
                    self.mails.append({"sender": sender, "recipients": taken, "params": params, "content": content, "who": who, "mechanism": mechanism, "tls": tls})
                for answer in answers:
                    say(answer)
                rcpts = []
            elif verb == "QUIT":
                say("221 2.0.0 bye")
                return
            else:
                say("250 2.0.0 ok" if verb in ("RSET", "NOOP") else "500 5.5.2 what?")

    def auth_plain(self, ask, initial):
        _, user, password = (initial if initial is not None else ask(b"")).decode().split("\0")
        return user if self.passwords.get(user) == password else None

    def auth_login(self, ask, initial):
        user = ask(b"Username:").decode()
        return user if self.passwords.get(user) == ask(b"Password:").decode() else None

    def auth_scram_sha_256(self, ask, initial):
        gs2, bare = initial.decode()[:3], initial.decode()[3:]
        user, nonce = re.fullmatch("n=([^,]*),r=(.*)", bare).groups()
        salt, nonce = os.urandom(12), nonce + "server"
        first = f"r={nonce},s={base64.b64encode(salt).decode()},i=4096"
        final = ask(first.encode()).decode()
        without, proof = final.rsplit(",p=", 1)
        salted = hashlib.pbkdf2_hmac("sha256", self.passwords.get(user, "?").encode(), salt, 4096)

        def mac(key, text):
            return hmac.new(key, text.encode(), "sha256").digest()
        message = f"{bare},{first},{without}"
        key = mac(salted, "Client Key")
        wanted = bytes(a ^ b for a, b in zip(key, mac(hashlib.sha256(key).digest(), message)))
        if gs2 != "n,," or base64.b64decode(proof) != wanted or f",r={nonce}" not in without:
            return None
        ask(b"v=" + base64.b64encode(mac(mac(salted, "Server Key"), message)))
        return user
