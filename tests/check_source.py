#!/usr/bin/env python3
"""Layout and banned calls over all C and script sources; FILE:LINE: text for each breach, exit 1 when there is one."""
import os
import re
import sys

LINE_MAX = 132  # characters of C; scripts may have a little more
SCRIPT_LINE_MAX = 140
BANNED = {
    "strcpy": "snprintf or memcpy with a length",
    "strcat": "snprintf",
    "sprintf": "snprintf",
    "vsprintf": "vsnprintf",
    "gets": "getline",
    "strtok": "strsep or a cursor",
    "atoi": "number_parse or strtoul with a check",
    "atol": "strtol with a check",
    "atof": "strtod with a check",
    "rand": "randombytes_buf, or a seeded generator in tests",
    "srand": "randombytes_buf, or a seeded generator in tests",
    "system": "posix_spawn",
    "popen": "posix_spawn",
    "alloca": "a bounded array or the heap",
    "mktemp": "mkstemp",
    "tmpnam": "mkstemp",
}
CALL = re.compile(r"(?<![\w.>])(" + "|".join(BANNED) + r")\s*\(")
KEY_COMPARE = re.compile(r"\b(?:memcmp|strcmp)\s*\([^;]*\b\w*(?:secret|owner_key|segment_key|password|token)\w*[^;]*\)")
TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def blank(match):
    return re.sub(r"[^\n]", " ", match.group(0))


def code_of(text):
    """The text with comments and string literals blanked, line numbers kept."""
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text, flags=re.S)


def sources():
    for folder, folders, files in os.walk(TOP):
        folders[:] = sorted(f for f in folders if f not in ("build", ".git", "corpus", "__pycache__", "golden"))
        for name in sorted(files):
            path = os.path.join(folder, name)
            if os.path.islink(path):
                continue
            if name.endswith((".c", ".h", ".sh", ".py", ".md")) or name == "Makefile":
                yield os.path.relpath(path, TOP)


def check(path, text):
    c = path.endswith((".c", ".h"))
    before = ""
    most = LINE_MAX if c else SCRIPT_LINE_MAX
    for number, line in enumerate(text.split("\n"), 1):
        if line != line.rstrip():
            yield number, "blanks at the end of the line"
        if path.endswith(".md"):
            continue
        if len(line) > most and not (c and line.rstrip("\\ ").startswith("\tF(")):  # a row of a table stays one line
            yield number, f"{len(line)} characters, at most {most}"
        if c and re.match(r" {4}", line) and re.search(r"[;{}:]\s*$", before):
            yield number, "indented with spaces"
        before = line
    if not text.endswith("\n"):
        yield text.count("\n") + 1, "no newline at the end"
    if not c:
        return
    for number, line in enumerate(code_of(text).split("\n"), 1):
        found = CALL.search(line)
        if found:
            yield number, f"{found.group(1)}() is banned: use {BANNED[found.group(1)]}"
        if not path.startswith("tests/") and KEY_COMPARE.search(line):
            yield number, "keys are compared in constant time: sodium_memcmp"


def main():
    breaches = files = 0
    for path in sources():
        files += 1
        with open(os.path.join(TOP, path), encoding="utf-8") as f:
            for number, words in check(path, f.read()):
                print(f"{path}:{number}: {words}")
                breaches += 1
    if breaches:
        return 1
    print(f"source: {files} files in order")
    return 0


sys.exit(main())
