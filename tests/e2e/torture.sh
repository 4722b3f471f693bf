#!/bin/bash
# A few rounds of tests/torture.sh with seeds of their own, each alone; `make torture N=1000` does more, and powerloss.py and
# remote_kills.py with more of theirs, which run here on their own.
set -u
if [ -z "${SHIM:-}" ]; then
	echo "skip rounds_of_faults_and_repairs no fault shim was built"
	exit 0
fi
for seed in 4711 4712 4713; do
	if bash "$TOP/tests/torture.sh" 1 $seed > torture.txt 2>&1; then
		echo "ok a_round_of_faults_and_repairs_from_seed_$seed"
	else
		cat torture.txt
		echo "not ok a_round_of_faults_and_repairs_from_seed_$seed"
	fi
done
