# SPDX-License-Identifier: MIT
"""A Debian guest's serial console."""

import re
import subprocess
import threading
import time


class Console:
    """The guest's serial console: its output as it comes, lines typed to it."""

    def __init__(self, command):
        self.guest = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.seen = b""
        self.all = b""
        self.changed = threading.Condition()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        while piece := self.guest.stdout.read1(65536):
            with self.changed:
                self.seen += piece
                self.all += piece
                self.changed.notify()

    def wait(self, pattern, seconds):
        """The text before the pattern, or None if it does not come."""
        until = time.monotonic() + seconds
        with self.changed:
            while not (match := re.search(pattern, self.seen)):
                left = until - time.monotonic()
                if left <= 0 or not self.changed.wait(left):
                    return None
            text, self.seen = self.seen[: match.start()], self.seen[match.end():]
            return text.decode("latin1")

    def type(self, line):
        self.guest.stdin.write(line.encode() + b"\n")
        self.guest.stdin.flush()

    def command(self, line, seconds):
        """The output lines of a shell command, or None."""
        self.type(f"echo @'<'; {line}; echo @'>'")
        if self.wait(rb"@<\r?\n", seconds) is None:
            return None
        text = self.wait(rb"@>\r?\n", seconds)
        return None if text is None else re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", text).replace("\r", "").strip()

    def login(self, seconds):
        """As root, with a shell that echoes nothing. False if it does not come to that."""
        if self.wait(rb"lodge-debian login: ", seconds) is None:
            return False
        self.type("root")
        self.wait(rb"assword: ", seconds)
        self.type("lodge")
        if self.wait(rb"# ", seconds) is None:
            return False
        self.command("stty -echo; PS1=; PS2=; bind 'set enable-bracketed-paste off' 2>/dev/null; cd /root", seconds)
        return True
