#!/bin/bash
# The command line's frame: help for each verb with examples first, near names, exit codes, version.
# also: sanitized
set -u

result() { # NAME STATUS
	if [ "$2" = 0 ]; then echo "ok $1"; else echo "not ok $1"; fi
}
# expect NAME CODE WORD COMMAND...: exit code and a word in its output
expect() {
	local name=$1 code=$2 word=$3 output
	shift 3
	output=$("$@" 2>&1 < /dev/null)
	local got=$?
	if [ "$got" = "$code" ] && grep -qF -- "$word" <<< "$output"; then
		echo "ok $name"
	else
		echo "not ok $name exit $got, wanted $code and \"$word\""
		sed 's/^/# /' <<< "$output"
	fi
}

expect version 0 "atoll " "$ATOLL" --version
expect help_lists_verbs 0 "Verbs" "$ATOLL" help
expect nothing_asked 2 "atoll help" "$ATOLL"
expect unknown_verb_names_the_near_one 2 "did you mean stat?" "$ATOLL" stats
expect unknown_option_names_the_near_one 2 "did you mean --archive?" "$ATOLL" ls --archiv x
expect unknown_list 2 "did you mean segments?" "$ATOLL" -A x ls segment
expect no_archive_named 2 "ATOLL_ARCHIVE" "$ATOLL" ls
expect no_archive_there 5 "nowhere" "$ATOLL" -A nowhere ls
expect init_without_a_place 2 "atoll init DIR" "$ATOLL" init

verbs=$("$ATOLL" help | sed -n '/^Verbs/,/^$/p' | sed -n 's/^  \([a-z]*\) .*/\1/p')
for verb in $verbs; do
	"$ATOLL" help "$verb" > help.txt 2>&1
	[ $? = 0 ] && head -n 4 help.txt | grep -q "^  atoll " && grep -q '^Options' help.txt
	result "help_of_${verb}_starts_with_examples" $?
	"$ATOLL" "$verb" --help | cmp -s - help.txt
	result "help_option_of_${verb}_says_the_same" $?
	expect "${verb}_refuses_an_unknown_option" 2 "unknown option --frobnicate" "$ATOLL" "$verb" --frobnicate
	sed -n '/^Options/,$p' help.txt | sed -n 's/^  [-a-zA-Z, ]*\(--[a-z-]*\).*/\1/p' | sort | uniq -d | grep -q .
	[ $? = 1 ]
	result "options_of_${verb}_are_listed_once" $?
done

"$ATOLL" help > /dev/full 2> /dev/null
[ $? = 1 ]
result full_output_is_an_error $?
