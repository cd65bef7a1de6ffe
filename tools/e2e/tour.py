#!/usr/bin/env python3
"""Runs the commands of a document and compares their output: tour.py FILE

Commands are the fenced blocks `sh`; all run in one bash, in the current folder. A block `console` after one is its
expected output; without one the block must end with status 0. Words after `sh`:

    again   safe to repeat: repeated for up to 30 s until its output is as expected
    nats    run if the program `nats` is installed
    skip    not run

In expected output, `…` stands for any text, and a line that is only `…` for any lines. A line that is a JSON object
stands for an object that has at least these members.
"""
import json, queue, re, shutil, subprocess, sys, threading, time

FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.M | re.S)
REPEAT_SECONDS = 30
BLOCK_SECONDS = 120
MARK = "=== end of block"


def blocks(text):
    """Yields (line, words, commands, expected output or None)."""
    found = list(FENCE.finditer(text))
    for i, block in enumerate(found):
        if block[1] != "sh":
            continue
        after = found[i + 1] if i + 1 < len(found) else None
        expected = after[3] if after and after[1] == "console" else None
        yield text.count("\n", 0, block.start()) + 1, block[2].split(), block[3], expected


class Shell:
    def __init__(self):
        self.process = subprocess.Popen(
            ["bash"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def run(self, commands):
        """Returns output and status."""
        # Commands must not read the lines after them.
        self.process.stdin.write(f"{{\n{commands}\n}} </dev/null 2>&1; printf '\\n{MARK} %s\\n' $?\n")
        self.process.stdin.flush()
        output, end = "", time.monotonic() + BLOCK_SECONDS
        while True:
            try:
                line = self.lines.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                return output + f"(no end within {BLOCK_SECONDS} s)", None
            if line is None:
                return output + "(bash ended)", None
            if line.startswith(MARK):
                return output, int(line.split()[-1])
            output += line


def has(actual, expected):
    if isinstance(expected, dict):
        return isinstance(actual, dict) and all(k in actual and has(actual[k], v) for k, v in expected.items())
    if isinstance(expected, list):
        return isinstance(actual, list) and len(actual) == len(expected) and all(map(has, actual, expected))
    return expected == "…" or actual == expected


def line_matches(actual, expected):
    pattern = ".*".join(map(re.escape, expected.split("…")))
    if re.fullmatch(pattern, actual):
        return True
    try:
        return has(json.loads(actual), json.loads(expected))
    except ValueError:
        return False


def matches(actual, expected):
    if not expected:
        return not actual
    if expected[0] == "…":
        return any(matches(actual[i:], expected[1:]) for i in range(len(actual) + 1))
    return bool(actual) and line_matches(actual[0], expected[0]) and matches(actual[1:], expected[1:])


def lines(text):
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def check(shell, words, commands, expected):
    """Returns None, or the difference."""
    end = time.monotonic() + (REPEAT_SECONDS if "again" in words else 0)
    while True:
        output, status = shell.run(commands)
        good = status == 0 if expected is None else matches(lines(output), lines(expected))
        if good or status is None or time.monotonic() > end:
            break
        time.sleep(0.2)
    if good:
        return None
    return f"status {status}, output:\n{output}\nexpected:\n{expected or 'status 0'}"


def main():
    path = sys.argv[1]
    shell = Shell()
    with open(path, encoding="utf-8") as file:
        found = list(blocks(file.read()))
    if not found:
        sys.exit(f"{path} has no commands")
    for line, words, commands, expected in found:
        title = f"{path}:{line}: {commands.splitlines()[0][:90]}"
        if "skip" in words or ("nats" in words and not shutil.which("nats")):
            print(f"skipped: {title}", flush=True)
            continue
        wrong = check(shell, words, commands, expected)
        if wrong:
            sys.exit(f"FAILED: {title}\n{wrong}")
        print(f"ok: {title}", flush=True)


main()
