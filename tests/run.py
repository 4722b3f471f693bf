#!/usr/bin/env python3
"""The runner behind `make test`: builds, checks, unit tests, end to end tests, sanitizers, clang, short fuzz runs.

    tests/run.py [STAGE...] [-k WORD]     stages: check unit e2e san clang fuzz (default: all, in this order)

Every test program or script prints TAP: `ok NAME`, `not ok NAME reason`, `skip NAME reason` (cmocka's numbered form is
understood too). One that ends with an error, is killed, or prints fewer results than it planned counts as a failure.
Scripts in tests/e2e get ATOLL, GEN, SHIM, OUT, ATOLL_SHARED (the folder of real data, unset when there is none) and run in
a scratch folder of their own that is removed afterwards; `# also: sanitized` in one of the first lines makes it run a second
time with the sanitized program.
The last line is `N passed, N failed, N skipped`; the exit code is 1 when something failed.
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
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get("BUILD") or "build"
JOBS = os.cpu_count() or 1
FUZZ_SECONDS = int(os.environ.get("FUZZ_SECONDS", "5"))
PROGRAM_SECONDS_MAX = 420  # one test program or script; hanging is a failure
OUTPUT_LINES_MAX = 60      # shown of a failing test
RESULT = re.compile(r"^(ok|not ok|skip)\b\s*(?:\d+\s*(?:-\s+)?)?(.*)$")
PLAN = re.compile(r"^1\.\.(\d+)$")
FLAVOUR_ARGS = {"gcc": [], "san": ["SAN=address,undefined"], "clang": ["CC=clang"]}

passed = failed = 0
skips = []
failures = []


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


def run(command, env, cwd, seconds):
    """Runs in a process group of its own, so that a timeout ends all of it. Returns (status, output, seconds taken)."""
    began = time.monotonic()
    child = subprocess.Popen(command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, start_new_session=True)
    try:
        output, _ = child.communicate(timeout=seconds)
        status = child.returncode
    except BaseException as e:
        os.killpg(child.pid, signal.SIGKILL)
        output, _ = child.communicate()
        if not isinstance(e, subprocess.TimeoutExpired):
            raise
        output += f"\nkilled after {seconds} s\n".encode()
        status = -signal.SIGKILL
    return status, output.decode("utf-8", "replace"), time.monotonic() - began


def results_of(name, status, output):
    """(passed, [failed names], [(skipped name, reason)]) from TAP."""
    good, bad, skipped, planned, seen = 0, [], [], None, 0
    for line in output.splitlines():
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
            skipped.append((f"{name}: {label}", reason))
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


def report(stage, name, status, output, seconds):
    global passed, failed
    good, bad, skipped = results_of(name, status, output)
    passed += good
    failed += len(bad)
    skips.extend(skipped)
    failures.extend(f"{stage} {name}: {words}" for words in bad)
    extra = f", {len(skipped)} skipped" if skipped else ""
    extra += f", {len(bad)} FAILED" if bad else ""
    say(f"  {'FAIL' if bad else 'ok':4}  {stage:6} {name:32} {good:4} passed{extra}  {seconds:.1f} s")
    if bad:
        lines = output.splitlines()
        if len(lines) > OUTPUT_LINES_MAX:
            say(f"        ... {len(lines) - OUTPUT_LINES_MAX} lines above")
        for line in lines[-OUTPUT_LINES_MAX:]:
            say(f"        | {line}")


def step(stage, name, command):
    """One command that either works or not. Returns whether it did."""
    status, output, seconds = run(command, ENV, TOP, 900)
    verdict = f"ok {name}" if status == 0 else f"{output}\nnot ok {name} exit code {status}"
    report(stage, name, 0 if status == 0 else 1, verdict, seconds)
    return status == 0


def many(stage, jobs):
    """jobs: (name, function giving (status, output, seconds)). Runs JOBS at a time, reports in order."""
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        futures = [(name, pool.submit(function)) for name, function in jobs]
        for name, future in futures:
            report(stage, name, *future.result())


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
    many(stage, [(name, in_scratch([os.path.join(TOP, BUILD, flavour, "unit", name)], env))
                 for name in names if word in name])


def stage_check(word):
    step("check", "make check", ["make", "check"])


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
            yield name, in_scratch(["bash" if path.endswith(".sh") else sys.executable, path], env)


def stage_e2e(word):
    if step("e2e", "build (gcc)", make("gcc", "all", "unit")):
        many("e2e", list(script_jobs("gcc", word, False)))


def stage_san(word):
    unit("san", "san", word)
    if os.path.exists(os.path.join(TOP, BUILD, "san", "atoll")):
        many("san", list(script_jobs("san", word, True)))


def stage_clang(word):
    if shutil.which("clang"):
        unit("clang", "clang", word)
    else:
        skips.append(("clang", "no clang here"))


def stage_fuzz(word):
    if not shutil.which("clang"):
        skips.append(("fuzz", "no clang here"))
        return
    targets = [os.path.basename(p)[:-2] for p in sorted(glob.glob(f"{TOP}/tests/fuzz/fuzz_*.c"))]
    if not step("fuzz", "build (fuzz)", ["make", "-j", str(JOBS), f"BUILD={BUILD}", "fuzz-build"]):
        return
    many("fuzz", [(t, in_scratch([f"{TOP}/tests/fuzz/run.sh", str(FUZZ_SECONDS),
                                  os.path.join(TOP, BUILD, "fuzz", "fuzz", t)], ENV))
                  for t in targets if word in t])


STAGES = {"check": stage_check, "unit": stage_unit, "e2e": stage_e2e, "san": stage_san, "clang": stage_clang,
          "fuzz": stage_fuzz}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stages", nargs="*", metavar="STAGE", help="check unit e2e san clang fuzz")
    parser.add_argument("-k", dest="word", default="", help="only tests with WORD in their name")
    asked = parser.parse_args()
    unknown = [s for s in asked.stages if s not in STAGES]
    if unknown:
        parser.error(f"no stage {unknown[0]}; there are {' '.join(STAGES)}")
    began = time.monotonic()
    if "ATOLL_SHARED" not in ENV:
        skips.append(("real data", "no folder of real captures (ATOLL_SHARED, default ../shared): generated traces instead"))
    for stage in asked.stages or STAGES:
        say(f"{stage}:")
        STAGES[stage](asked.word)
    say(f"\ntook {time.monotonic() - began:.0f} s on {JOBS} cores")
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
        sys.exit(130)
