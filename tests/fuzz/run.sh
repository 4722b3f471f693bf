#!/bin/bash
# run.sh SECONDS PROGRAM...: runs each libFuzzer program for SECONDS and prints a TAP line for it. The seeds of
# tests/fuzz/corpus/NOUN are read, never written; what the fuzzer finds stays in the program's folder under corpus/NOUN, and
# an input that breaks it under crash-NOUN-*.
set -u
here=$(cd "$(dirname "$0")" && pwd)
seconds=$1
shift
status=0
for program in "$@"; do
	program=$(realpath "$program")
	name=$(basename "$program")
	noun=${name#fuzz_}
	found=$(dirname "$program")/corpus/$noun
	mkdir -p "$found"
	seeds=()
	[ -d "$here/corpus/$noun" ] && seeds=("$here/corpus/$noun")
	log=$(mktemp)
	began=$SECONDS
	if "$program" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 \
		-artifact_prefix="$(dirname "$program")/crash-$noun-" "$found" "${seeds[@]}" > "$log" 2>&1; then
		runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
		echo "ok $name ${runs:-?} runs in $((SECONDS - began)) s"
	else
		tail -n 40 "$log"
		echo "not ok $name"
		status=1
	fi
	rm -f "$log"
done
exit $status
