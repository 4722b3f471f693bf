#!/bin/bash
# An interrupted import ends with 130 and leaves an archive that fsck finds clean; the next import of the file goes on. A
# reader that waits for a quiet pipe can be interrupted, too.
set -u
set -m # jobs get SIGINT as on a terminal

check() { # NAME CONDITION...
	local name=$1
	shift
	if "$@"; then echo "ok $name"; else echo "not ok $name"; fi
}
packets() { "$ATOLL" -A a stat --json | sed -n 's/.*"packets": \([0-9]*\).*/\1/p'; }

"$GEN" --packets 1500000 --snaplen 80 --seed 3 t.pcap
total=$(tcpdump --count -r t.pcap 2>/dev/null | cut -d' ' -f1)
"$ATOLL" init -q a

# a signal at any time: either it came too late, or the exit code says so
for wait in 0.02 0.05 0.1 0.2; do
	"$ATOLL" -A a import -q --stream s t.pcap 2> errors.txt &
	child=$!
	sleep $wait
	kill -INT $child 2> /dev/null
	wait $child
	code=$?
	check "interrupted_after_${wait}_s" [ $code = 130 -o $code = 0 -o "$(grep -c -- --again errors.txt)" = 1 ]
	"$ATOLL" -A a fsck -q > fsck.txt 2>&1
	check "clean_after_${wait}_s" [ $? = 0 ]
done
"$ATOLL" -A a import -q --stream s t.pcap 2> errors.txt
code=$?
check goes_on_to_the_end [ $code = 0 -o "$(grep -c -- --again errors.txt)" = 1 ]
check nothing_missing_nothing_twice [ "$(packets)" = "$total" ]

mkfifo pipe
"$ATOLL" -A a import -q --stream p - < pipe 2> errors.txt &
child=$!
exec 9> pipe
head -c 50000 t.pcap >&9
sleep 0.5
kill -INT $child
for _ in $(seq 50); do
	kill -0 $child 2> /dev/null || break
	sleep 0.1
done
if kill -0 $child 2> /dev/null; then
	kill -KILL $child
	wait $child 2> /dev/null
	echo "not ok a_quiet_pipe_can_be_interrupted still there after 5 s"
else
	wait $child
	check a_quiet_pipe_can_be_interrupted [ $? = 130 ]
fi
exec 9>&-
"$ATOLL" -A a fsck -q > fsck.txt 2>&1
check clean_after_an_interrupted_pipe [ $? = 0 ]
