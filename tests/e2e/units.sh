#!/bin/bash
# What `make install` puts where, and that the units are as closed as they are said to be (systemd-analyze, where it is).
set -u
MOST=20 # exposure in tenths

result() { # NAME STATUS
	if [ "$2" = 0 ]; then echo "ok $1"; else echo "not ok $1"; fi
}

make -s -C "$TOP" BUILD="$(dirname "$OUT")" install DESTDIR="$PWD/root" PREFIX=/opt/atoll > install.txt 2>&1
result make_install_works $?
[ -x root/opt/atoll/bin/atoll ] && root/opt/atoll/bin/atoll --version > /dev/null
result the_installed_program_runs $?
cmp -s "$TOP/docs/atoll.conf" root/opt/atoll/share/doc/atoll/atoll.conf
result the_example_configuration_is_installed $?
root/opt/atoll/bin/atoll config check --config root/opt/atoll/share/doc/atoll/atoll.conf > /dev/null
result and_is_in_order $?
for policy in counts-only open research internal; do
	root/opt/atoll/bin/atoll policy check root/opt/atoll/share/atoll/policies/$policy.policy > /dev/null
	result "the_policy_${policy}_is_installed" $?
done
cmp -s "$TOP/docs/example.policy" root/opt/atoll/share/doc/atoll/example.policy
result the_example_of_a_policy_is_installed $?
for unit in atoll atoll-collect; do
	file=root/opt/atoll/lib/systemd/system/$unit.service
	grep -q "^ExecStart=/opt/atoll/bin/$unit " "$file"
	result "the_unit_${unit}_starts_the_installed_program" $?
	if ! command -v systemd-analyze > /dev/null; then
		echo "skip the_unit_${unit}_is_closed no systemd-analyze here"
		continue
	fi
	sed 's|^ExecStart=[^ ]*|ExecStart=/bin/true|' "$file" > "$unit.service" # verify wants a program that is there
	systemd-analyze verify "$PWD/$unit.service" > verify.txt 2>&1 && ! [ -s verify.txt ]
	result "the_unit_${unit}_is_understood" $?
	cat verify.txt
	systemd-analyze security --no-pager --offline=true --threshold=$MOST "$PWD/$unit.service" > security.txt 2>&1
	result "the_unit_${unit}_is_exposed_to_at_most_2.0" $?
	sed -n 's/.*Overall exposure level[^:]*: /# exposure /p' security.txt
done
