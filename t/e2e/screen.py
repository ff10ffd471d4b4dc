"""A terminal for programs that draw on one: what stands on its screen is waited for before a key is pressed, whatever was written to get there."""
import os
import pty
import pwd
import re
import select
import signal
import time

from harness import PATIENCE, check


class Screen:
    """A vt102 of 24 lines, and a user's program on it."""
    SIZE, WIDTH = 24, 80
    # An escape sequence, another escape, a control character, text.
    PIECES = re.compile(rb"\x1b\[([?0-9;]*)([@-~])|\x1b([()#].|[^\[()#])|([\x00-\x1a\x1c-\x1f])|([^\x00-\x1f]+)", re.S)

    def __init__(self, user, home, *command):
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.environ.update(HOME=home, TERM="vt102", LINES=str(self.SIZE), COLUMNS=str(self.WIDTH))
            os.chdir(home)
            os.execvp("setpriv", ["setpriv", f"--reuid={user}", f"--regid={pwd.getpwnam(user).pw_gid}", "--init-groups", *command])
        self.lines = [self.empty() for _ in range(self.SIZE)]
        self.row = self.column = self.top = 0
        self.bottom, self.inserting, self.unread = self.SIZE - 1, False, b""
        self.patience, self.awaited, self.seen = PATIENCE, None, False

    def empty(self, width=WIDTH):
        return [" "] * width

    def shown(self):
        return "\n".join("".join(line).rstrip() for line in self.lines)

    def scroll(self, at, lines):
        """So many lines out at `at`, and empty ones in at the bottom of the region; negative: the other way round."""
        for _ in range(abs(lines)):
            self.lines.pop(at if lines > 0 else self.bottom)
            self.lines.insert(self.bottom if lines > 0 else at, self.empty())

    def go(self, row, column):
        self.row, self.column = max(0, min(row, self.SIZE - 1)), max(0, min(column, self.WIDTH - 1))

    def line_feed(self, up=False):
        if self.row == (self.top if up else self.bottom):
            self.scroll(self.top, -1 if up else 1)
        else:
            self.go(self.row + (-1 if up else 1), self.column)

    def control(self, parameters, letter):
        numbers = [int(number or 0) for number in parameters.lstrip("?").split(";")] + [0]
        first, count, line, column = numbers[0], numbers[0] or 1, self.lines[self.row], min(self.column, self.WIDTH - 1)
        if letter in "Hf":
            self.go((numbers[0] or 1) - 1, (numbers[1] or 1) - 1)
        elif letter in "ABCD":
            self.go(self.row + count * {"A": -1, "B": 1}.get(letter, 0), column + count * {"C": 1, "D": -1}.get(letter, 0))
        elif letter in "KJ":
            begin, end = (0 if first else column), (column + 1 if first == 1 else self.WIDTH)
            line[begin:end] = self.empty(end - begin)
            if letter == "J":
                for i in {0: range(self.row + 1, self.SIZE), 1: range(self.row)}.get(first, range(self.SIZE)):
                    self.lines[i] = self.empty()
        elif letter in "LM":
            self.scroll(self.row, count if letter == "M" else -count)
        elif letter in "P@":
            line[column:column + count * (letter == "P")] = self.empty(count) if letter == "@" else []
            self.lines[self.row] = (line + self.empty())[:self.WIDTH]
        elif letter in "hl" and parameters == "4":
            self.inserting = letter == "h"
        elif letter == "r":
            self.top, self.bottom = (numbers[0] or 1) - 1, (numbers[1] or self.SIZE) - 1
            self.go(0, 0)

    def write(self, text):
        for c in text:
            if self.column == self.WIDTH:
                self.column = 0
                self.line_feed()
            line = self.lines[self.row]
            line[self.column:self.column + (not self.inserting)] = [c]
            del line[self.WIDTH:]
            self.column += 1

    def draw(self, data):
        self.unread += data
        while found := self.PIECES.match(self.unread):
            self.unread = self.unread[found.end():]
            parameters, letter, escape, control, text = found.groups()
            if letter:
                if letter in b"HKJLM":                           # what stands there now may be gone behind this
                    self.look()
                self.control(parameters.decode(), letter.decode())
            elif text:
                self.write(text.decode("utf-8", "replace"))
            elif control == b"\r":
                self.column = 0
            elif control == b"\b":
                self.go(self.row, self.column - 1)
            elif control == b"\n" or escape in (b"D", b"E", b"M"):
                self.line_feed(escape == b"M")

    def listens(self):
        """The program sleeps until there is a key: what comes before that, many throw away with what was typed ahead."""
        try:
            with open(f"/proc/{self.pid}/syscall") as f:
                number, *arguments = f.read().split()
        except OSError:
            return True                                          # a kernel that does not say
        keyboard = {"0": "0x0", "63": "0x0", "23": "0x1", "270": "0x1", "72": "0x1"}      # read(0), select and pselect of nothing above it: x86-64, ARM
        return arguments[:1] == [keyboard.get(number)]

    def more(self):
        if not select.select([self.terminal], [], [], 0.1)[0]:
            return True
        try:
            part = os.read(self.terminal, 4096)
        except OSError:
            return False
        self.draw(part)
        return part != b""

    def sees(self, text):
        return re.search(text, self.shown())

    def look(self):
        self.seen = self.seen or (self.awaited is not None and bool(self.sees(self.awaited)))

    def wait(self, text, after=""):
        """Until it stands on the screen, be it for a moment."""
        end = time.monotonic() + self.patience
        self.awaited, self.seen = text, False
        self.look()
        while not self.seen:
            check(self.more(), f"the program ended before {text} was shown{after}:\n{self.shown()}")
            self.look()
            check(self.seen or time.monotonic() < end, f"{text} is not shown{after} but:\n{self.shown()}")
        self.awaited = None

    def key(self, keys, text):
        """Presses it; then `text` stands on the screen, which did not before."""
        check(not self.sees(text), f"{text} stands there before {keys!r}:\n{self.shown()}")
        end = time.monotonic() + self.patience
        while not self.listens():
            check(time.monotonic() < end and self.more(), f"{keys!r} is not listened for:\n{self.shown()}")
        os.write(self.terminal, keys.encode())
        self.wait(text, f" after {keys!r}")

    def answer(self, line, text):
        """Fills in what is asked for at the bottom, and sends it when it stands there."""
        self.key("\x15" + line, re.escape(line) + r"\n.*\n.*\Z")    # Ctrl-U: in place of what was offered
        self.key("\r", text)

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.terminal)

    def end(self, keys=""):
        os.write(self.terminal, keys.encode())
        end = time.monotonic() + PATIENCE
        while self.more():
            if time.monotonic() > end:
                os.kill(self.pid, signal.SIGKILL)
        status = os.waitpid(self.pid, 0)[1]
        check(status == 0, f"exit {status}:\n{self.shown()}")
