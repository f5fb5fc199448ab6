"""What a server did, call by call, as strace has seen it.

The lines of a trace are in the order in which the kernel let the calls begin and return: a thread
goes on only when its line is written. So what happened before what can be read from it.
"""

import re
from collections import namedtuple

from server import Verona

# Calls that write bytes, those that make them durable, and what leads a line.
WRITES = {"write", "writev", "pwrite64", "pwritev", "pwritev2", "sendto", "sendmsg"}
SYNCS = {"fsync", "fdatasync"}
CALLS = ",".join(sorted(WRITES | SYNCS))
BEGUN = re.compile(r"(\d+) +(\w+)\((\d+)<([^>]*(?:>\d[^>]*)?)>(.*)")
RETURNED = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>.* = (-?\d+)")
RESULT = re.compile(r" = (-?\d+)(?: .*)?$")

# A call: where its line and that of its return stand, its name, its file or connection, its bytes.
Call = namedtuple("Call", "begun returned thread name file text result")


class Traced(Verona):
    """The server under strace, which may also inject faults: `inject` as its option wants it."""

    def __init__(self, folder, inject=(), calls=CALLS, **rest):
        super().__init__(folder, **rest)
        self.inject, self.calls = list(inject), calls
        self.trace = self.folder / "trace"

    def command(self):
        inject = [part for fault in self.inject for part in ("-e", f"inject={fault}")]
        # -D: the server is our child, and strace beside it.
        return ["strace", "-D", "-f", "-qq", "-yy", "-s", "1000000", "--seccomp-bpf",
                "-e", f"trace={self.calls}", *inject, "-o", self.trace, *super().command()]


def read_trace(path):
    """The calls of a trace that returned, in the order in which they began."""
    open_calls, calls = {}, []
    with path.open(errors="replace") as lines:
        for number, line in enumerate(lines):
            line = line.rstrip("\n")
            if match := BEGUN.match(line):
                pid, name, _, file, rest = match.groups()
                if rest.endswith("<unfinished ...>"):
                    open_calls[pid, name] = (number, file, rest)
                elif result := RESULT.search(rest):
                    calls.append(Call(number, number, pid, name, file, rest, int(result[1])))
            elif match := RETURNED.match(line):
                pid, name, result = match.groups()
                if (pid, name) in open_calls:
                    begun, file, rest = open_calls.pop((pid, name))
                    calls.append(Call(begun, number, pid, name, file, rest, int(result)))
    # What never returned was the last that it did.
    for (pid, name), (begun, file, rest) in open_calls.items():
        calls.append(Call(begun, float("inf"), pid, name, file, rest, -1))
    return sorted(calls)
