#!/bin/bash
# A few rounds of tests/torture.sh with seeds of their own; `make torture N=1000` does more.
set -u
if [ -z "${SHIM:-}" ]; then
	echo "skip rounds_of_faults_and_repairs no fault shim was built"
	exit 0
fi
if bash "$TOP/tests/torture.sh" 3 4711 > torture.txt 2>&1; then
	echo "ok rounds_of_faults_and_repairs"
else
	cat torture.txt
	echo "not ok rounds_of_faults_and_repairs"
fi
