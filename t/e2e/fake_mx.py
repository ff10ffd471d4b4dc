#!/usr/bin/env python3
"""A mail server that misbehaves as told: fake_mx.py ADDRESS PORT DIRECTORY [CERT KEY].

Each mail taken becomes DIRECTORY/N.eml with its envelope in DIRECTORY/N.json. DIRECTORY/rules.json, read anew for every command, is a list
of rules; the first that fits decides: {"at": "connect|EHLO|STARTTLS|MAIL|RCPT|DATA|end|QUIT", "match": "regexp on the line",
"reply": "450 4.7.1 later", "then": "close|hang|drip|flood|garbage|drop", "times": 2}. "capabilities" in DIRECTORY/capabilities.json replaces what EHLO says."""
import asyncio
import json
import os
import re
import ssl
import sys

address, port, directory = sys.argv[1], int(sys.argv[2]), sys.argv[3]
context = None
if len(sys.argv) > 5:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[4], sys.argv[5])
os.makedirs(directory, exist_ok=True)
used = {}
count = 0


def load(name, default):
    try:
        with open(os.path.join(directory, name)) as f:
            return json.load(f)
    except (OSError, ValueError):
        return default


def rule_for(at, line):
    for n, rule in enumerate(load("rules.json", [])):
        if rule.get("at") != at or not re.search(rule.get("match", ""), line, re.I):
            continue
        key = (n, at, rule.get("match", ""))
        if "times" in rule and used.get(key, 0) >= rule["times"]:
            continue
        used[key] = used.get(key, 0) + 1
        return rule
    return None


class Gone(Exception):
    pass


async def serve(reader, writer):
    global count
    tls, sender, rcpts, params = False, None, [], ""

    async def say(text):
        writer.write(text.encode() + b"\r\n")
        await writer.drain()

    async def obey(at, line=""):
        """True when a rule answered."""
        rule = rule_for(at, line)
        if not rule:
            return False
        if "reply" in rule:
            for one in rule["reply"].split("\n"):
                await say(one)
        then = rule.get("then")
        if then == "hang":
            await asyncio.sleep(3600)
        while then in ("drip", "flood"):      # a byte at a time and never a line; lines and never the last
            writer.write(b"2" if then == "drip" else b"250-and more\r\n" * 100)
            await writer.drain()
            await asyncio.sleep(0.1 if then == "drip" else 0)
        if then == "garbage":
            writer.write(b"\x00\xff\xfe no reply at all \x07\r\n" * 3)
            await writer.drain()
        if then in ("close", "drop", "garbage"):
            raise Gone
        return True

    try:
        if not await obey("connect"):
            await say("220 fake.example.net ESMTP")
        while True:
            raw = await reader.readline()
            if not raw:
                raise Gone
            line = raw.decode("utf-8", "replace").rstrip("\r\n")
            verb = line.split(" ")[0].upper()
            if verb in ("EHLO", "HELO"):
                if await obey("EHLO", line):
                    continue
                caps = load("capabilities.json", ["PIPELINING", "SIZE 10000000", "8BITMIME", "ENHANCEDSTATUSCODES"] +
                            (["STARTTLS"] if context and not tls else []))
                if verb == "HELO":
                    await say("250 fake.example.net")
                else:
                    lines = ["fake.example.net"] + caps
                    for n, one in enumerate(lines):
                        await say(("250 " if n == len(lines) - 1 else "250-") + one)
            elif verb == "STARTTLS":
                if await obey("STARTTLS", line):
                    continue
                await say("220 2.0.0 go ahead")
                await writer.start_tls(context) if hasattr(writer, "start_tls") else None
                tls = True
            elif verb == "MAIL":
                if not await obey("MAIL", line):
                    sender, rcpts = re.search(r"<([^>]*)>", line).group(1), []
                    params = line.split(">", 1)[1].strip()
                    await say("250 2.1.0 ok")
            elif verb == "RCPT":
                if not await obey("RCPT", line):
                    rcpts.append(re.search(r"<([^>]*)>", line).group(1))
                    await say("250 2.1.5 ok")
            elif verb == "DATA":
                if await obey("DATA", line):
                    continue
                if not rcpts:
                    await say("554 5.5.1 no valid recipients")
                    continue
                await say("354 go")
                content = b""
                while True:
                    raw = await reader.readline()
                    if not raw:
                        raise Gone
                    if raw == b".\r\n":
                        break
                    content += raw[1:] if raw.startswith(b".") else raw
                if await obey("end", content.decode("utf-8", "replace")):
                    continue
                count += 1
                base = os.path.join(directory, f"{count:06}")
                with open(base + ".tmp", "wb") as f:
                    f.write(content)
                with open(base + ".json", "w") as f:
                    json.dump({"sender": sender, "recipients": rcpts, "tls": tls, "params": params}, f)
                os.rename(base + ".tmp", base + ".eml")
                await say(f"250 2.0.0 Ok: queued as FAKE{count}")
                sender, rcpts = None, []
            elif verb == "RSET":
                sender, rcpts = None, []
                await say("250 2.0.0 ok")
            elif verb == "NOOP":
                await say("250 2.0.0 ok")
            elif verb == "QUIT":
                if not await obey("QUIT", line):
                    await say("221 2.0.0 bye")
                raise Gone
            else:
                await say("500 5.5.2 what?")
    except (Gone, ConnectionError, asyncio.IncompleteReadError, ValueError, ssl.SSLError):
        pass
    finally:
        writer.close()


async def main():
    server = await asyncio.start_server(serve, address, port, limit=1 << 26)
    with open(os.path.join(directory, "ready"), "w") as f:
        f.write("ready")
    async with server:
        await server.serve_forever()

asyncio.run(main())
