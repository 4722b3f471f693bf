#!/usr/bin/env python3
"""The runner behind `make test`: builds, checks, unit tests, end to end tests, sanitizers, short fuzz runs.

    tests/run.py [STAGE...] [-k WORD]     stages: check unit e2e san fuzz (default: these, in this order), clang

Two builds serve them all: gcc's, optimised, for unit and e2e; clang's with sanitizers (gcc's where there is no clang) for san and
fuzz. clang is the unit tests of clang's optimised build.

Every test program or script prints TAP: `ok NAME`, `not ok NAME reason`, `skip NAME reason` (cmocka's numbered form is
understood too). One that ends with an error, is killed, or prints fewer results than it planned counts as a failure.
Scripts in tests/e2e get ATOLL, GEN, SHIM, OUT, ATOLL_SHARED (the folder of real data, unset when there is none) and run in
a scratch folder of their own that is removed afterwards. Words in one of their first lines: `# also: sanitized` makes one run a
second time with the sanitized program; `# waits` says that it waits most of its time, so that it runs beside all others.
What a test takes is told in seconds, and in processor seconds of it and its descendants that it waited for. The last line is
`N passed, N failed, N skipped`; the exit code is 1 when something failed.
"""
import argparse
import concurrent.futures
import glob
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get("BUILD") or "build"
JOBS = os.cpu_count() or 1
FUZZ_SECONDS = int(os.environ.get("FUZZ_SECONDS", "5"))
PROGRAM_SECONDS_MAX = 420  # one test program or script; hanging is a failure
OUTPUT_LINES_MAX = 60      # shown of a failing test, below all of its `not ok`
WAITING = 4                # scripts that wait, at a time
LONGEST = 8                # named at the end
RESULT = re.compile(r"^(ok|not ok|skip)\b\s*(?:\d+\s*(?:-\s+)?)?(.*)$")
WHY = re.compile(r"^#?\s*skipped: (.*)$")  # said by a cmocka test before it skips
PLAN = re.compile(r"^1\.\.(\d+)$")
CLANG = shutil.which("clang")
SAN = "san-clang" if CLANG else "san"
FLAVOUR_ARGS = {"gcc": [], "san": ["SAN=address,undefined"], "san-clang": ["CC=clang", "SAN=address,undefined"], "clang": ["CC=clang"]}

passed = failed = 0
skips = []
failures = []
took = []     # (stage, name, seconds, processor seconds)
running = set()
lock = threading.Lock()  # of all of these, and of what is printed
busy = concurrent.futures.ThreadPoolExecutor(JOBS + 1)  # the odd one is for what waits now and then
waiting = concurrent.futures.ThreadPoolExecutor(WAITING)
waited_for = []


def environment():
    env = dict(os.environ)
    for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "ATOLL_ARCHIVE", "ATOLL_KEY_FILE"):
        env.pop(name, None)
    env["CMOCKA_MESSAGE_OUTPUT"] = "TAP"
    env["LC_ALL"] = "C.UTF-8"
    env["TZ"] = "Pacific/Chatham"  # nothing may depend on the local time zone
    env["ASAN_OPTIONS"] = "allocator_may_return_null=1:detect_stack_use_after_return=1"
    env["UBSAN_OPTIONS"] = "print_stacktrace=1"
    shared = env.get("ATOLL_SHARED") or os.path.join(TOP, "..", "shared")
    if os.path.isdir(os.path.join(shared, "data")):
        env["ATOLL_SHARED"] = os.path.abspath(shared)
    else:
        env.pop("ATOLL_SHARED", None)
    return env


ENV = environment()


def say(words=""):
    print(words, flush=True)


def end_group(child):
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def run(command, env, cwd, seconds):
    """Runs in a process group of its own, so that all of it can be ended. Returns (status, output, wall seconds, processor
    seconds of it and of the descendants that were waited for)."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=output,
                                 stderr=subprocess.STDOUT, start_new_session=True)
        with lock:
            running.add(child)
        timer = threading.Timer(seconds, end_group, (child,))
        timer.start()
        try:
            _, ending, used = os.wait4(child.pid, 0)
        finally:
            timer.cancel()
            with lock:
                running.discard(child)
                end_group(child)
        spent = time.monotonic() - began
        output.seek(0)
        words = output.read().decode("utf-8", "replace")
    if spent >= seconds:
        words += f"\nkilled after {seconds} s\n"
    child.returncode = os.waitstatus_to_exitcode(ending)
    return child.returncode, words, spent, used.ru_utime + used.ru_stime


def results_of(name, status, output):
    """(passed, [failed names], [(skipped name, reason)]) from TAP."""
    good, bad, skipped, planned, seen, why = 0, [], [], None, 0, ""
    for line in output.splitlines():
        told = WHY.match(line)
        why = told.group(1) if told else why
        plan = PLAN.match(line)
        if plan:
            planned = (planned or 0) + int(plan.group(1))
        found = RESULT.match(line)
        if not found:
            continue
        seen += 1
        kind, rest = found.groups()
        skip = re.match(r"(.*?)#\s*SKIP\b\s*(.*)", rest, re.I)
        if skip:
            label, _, reason = (skip.group(1) + skip.group(2)).strip().partition(" ")
            skipped.append((f"{name}: {label}", reason or why))
        elif kind == "skip":
            label, _, reason = rest.strip().partition(" ")
            skipped.append((f"{name}: {label}", reason))
        elif kind == "ok":
            good += 1
        else:
            bad.append(rest.strip())
    ending = f"killed by signal {-status}" if status < 0 else f"exit code {status}"
    if planned is not None and seen < planned:
        bad.append(f"ended after {seen} of {planned} tests, {ending}")
    elif status != 0 and not bad:
        bad.append(ending)
    if status == 0 and seen == 0:
        bad.append("printed no result")
    return good, bad, skipped


def report(stage, name, status, output, seconds, processor):
    global passed, failed
    good, bad, skipped = results_of(name, status, output)
    extra = f", {len(skipped)} skipped" if skipped else ""
    extra += f", {len(bad)} FAILED" if bad else ""
    with lock:
        passed += good
        failed += len(bad)
        skips.extend(skipped)
        failures.extend(f"{stage} {name}: {words}" for words in bad)
        took.append((stage, name, seconds, processor))
        say(f"  {'FAIL' if bad else 'ok':4}  {stage:6} {name:32} {good:4} passed{extra}  {seconds:.1f} s ({processor:.1f})")
        if bad:
            show(output.splitlines())


def show(lines):
    tail = lines[-OUTPUT_LINES_MAX:]
    above = lines[:-OUTPUT_LINES_MAX]
    wrong = [line for line in above if line.startswith("not ok")]
    for line in wrong:
        say(f"        | {line}")
    if above:
        say(f"        ... {len(above) - len(wrong)} lines left out above")
    for line in tail:
        say(f"        | {line}")


def step(stage, name, command):
    """One command that either works or not. Returns whether it did."""
    status, output, seconds, processor = run(command, ENV, TOP, 900)
    verdict = f"ok {name}" if status == 0 else f"{output}\nnot ok {name} exit code {status}"
    report(stage, name, 0 if status == 0 else 1, verdict, seconds, processor)
    return status == 0


def many(stage, jobs):
    """jobs: (name, function giving what run() gives, whether it waits most of its time). Runs them side by side; those that wait
    may go on in later stages."""
    def work(name, function):
        report(stage, name, *function())
    here = []
    for name, function, waits in jobs:
        (waited_for if waits else here).append((waiting if waits else busy).submit(work, name, function))
    for future in here:
        future.result()


def in_scratch(command, env):
    def work():
        folder = tempfile.mkdtemp(prefix="atoll-test-")
        try:
            return run(command, dict(env, TMPDIR=folder, SCRATCH=folder), folder, PROGRAM_SECONDS_MAX)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return work


def make(flavour, *targets):
    return ["make", "-j", str(JOBS), f"BUILD={BUILD}", *FLAVOUR_ARGS[flavour], *targets]


def unit(stage, flavour, word):
    if not step(stage, f"build ({flavour})", make(flavour, "all", "unit")):
        return
    sources = sorted(glob.glob(f"{TOP}/tests/unit/test_*.c"))
    names = [os.path.basename(path)[:-2] for path in sources]
    env = dict(ENV, OUT=os.path.join(TOP, BUILD, flavour), GEN=os.path.join(TOP, BUILD, flavour, "gen"), TOP=TOP)
    many(stage, [(name, in_scratch([os.path.join(TOP, BUILD, flavour, "unit", name)], env), False)
                 for name in names if word in name])


def stage_check(word):
    step("check", "make check", make("gcc", "check"))


def stage_unit(word):
    unit("unit", "gcc", word)


def script_jobs(flavour, word, only_sanitized):
    out = os.path.join(TOP, BUILD, flavour)
    plain = os.path.join(TOP, BUILD, "gcc")
    env = dict(ENV, ATOLL=os.path.join(out, "atoll"), GEN=os.path.join(plain, "gen"), OUT=plain, TOP=TOP,
               SHIM=os.path.join(plain, "shim.so"))
    for path in sorted(glob.glob(f"{TOP}/tests/e2e/*.sh") + glob.glob(f"{TOP}/tests/e2e/*.py")):
        name = os.path.basename(path)[:-3]
        with open(path, encoding="utf-8") as f:
            head = f.read(2000)
        if word in name and (not only_sanitized or "# also: sanitized" in head):
            yield name, in_scratch(["bash" if path.endswith(".sh") else sys.executable, path], env), "# waits" in head


def stage_e2e(word):
    if step("e2e", "build (gcc)", make("gcc", "all", "unit")):
        many("e2e", list(script_jobs("gcc", word, False)))


def stage_san(word):
    unit("san", SAN, word)
    if os.path.exists(os.path.join(TOP, BUILD, SAN, "atoll")):
        many("san", list(script_jobs(SAN, word, True)))


def stage_clang(word):
    if CLANG:
        unit("clang", "clang", word)
    else:
        skips.append(("clang", "no clang here"))


def stage_fuzz(word):
    if not CLANG:
        skips.append(("fuzz", "no clang here"))
        return
    targets = [os.path.basename(p)[:-2] for p in sorted(glob.glob(f"{TOP}/tests/fuzz/fuzz_*.c"))]
    if not step("fuzz", "build (fuzz)", ["make", "-j", str(JOBS), f"BUILD={BUILD}", "fuzz-build"]):
        return
    many("fuzz", [(t, in_scratch([f"{TOP}/tests/fuzz/run.sh", str(FUZZ_SECONDS),
                                  os.path.join(TOP, BUILD, SAN, "fuzz", t)], ENV), False)
                  for t in targets if word in t])


STAGES = {"check": stage_check, "unit": stage_unit, "e2e": stage_e2e, "san": stage_san, "fuzz": stage_fuzz, "clang": stage_clang}
DEFAULT = ("check", "unit", "e2e", "san", "fuzz")


def tell_durations(stages):
    """stages: {name: seconds}, without what went on beside later ones."""
    processor = sum(p for *_, p in took)
    say(f"\ntook {sum(stages.values()):.0f} s on {JOBS} cores, {processor:.0f} processor seconds:")
    for stage, seconds in stages.items():
        mine = [p for s, _, _, p in took if s == stage]
        say(f"  {stage:8} {seconds:5.0f} s, {sum(mine):5.0f} of the processor")
    longest = sorted(took, key=lambda job: -job[2])[:LONGEST]
    say("the longest: " + ", ".join(f"{s} {name} {seconds:.0f} s ({p:.0f})" for s, name, seconds, p in longest))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=" ".join(STAGES))
    parser.add_argument("-k", dest="word", default="", help="only tests with WORD in their name")
    asked = parser.parse_args()
    unknown = [s for s in asked.stages if s not in STAGES]
    if unknown:
        parser.error(f"no stage {unknown[0]}; there are {' '.join(STAGES)}")
    if "ATOLL_SHARED" not in ENV:
        skips.append(("real data", "no folder of real captures (ATOLL_SHARED, default ../shared): generated traces instead"))
    stages, began = {}, time.monotonic()
    for stage in asked.stages or DEFAULT:
        say(f"{stage}:")
        STAGES[stage](asked.word)
        began, stages[stage] = time.monotonic(), time.monotonic() - began
    for future in waited_for:
        future.result()
    if waited_for:
        stages["waiting"] = time.monotonic() - began
    tell_durations(stages)
    if failures:
        say("failed:")
        for words in failures:
            say(f"  {words}")
    if skips:
        say("skipped:")
        for name, reason in skips:
            say(f"  {name}: {reason or 'no reason given'}")
    say(f"{passed} passed, {failed} failed, {len(skips)} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        say("interrupted")
        for pool in busy, waiting:
            pool.shutdown(wait=False, cancel_futures=True)
        with lock:
            for child in running:
                end_group(child)
        sys.exit(130)
