#!/bin/sh
# The include table of the architecture, enforced: which folder may include which, which folder owns a library, where main
# may stand, and that file names are unique. Prints each breach as FILE:LINE: text; exit 1 when there is one.
set -u
cd "$(dirname "$0")/.." || exit 1

list=$(mktemp) && trap 'rm -f "$list"' EXIT
for folder in base ingest archive index anonymize query modules api; do
	[ -d "$folder" ] && find "$folder" -name '*.[ch]'
done | sort > "$list"

breaches=$(
	# shellcheck disable=SC2046
	awk '
	BEGIN {
		allowed["base"] = "base"
		allowed["ingest"] = "ingest base archive"
		allowed["archive"] = "archive base"
		allowed["index"] = "index base archive"
		allowed["anonymize"] = "anonymize base archive"
		allowed["query"] = "query base archive index anonymize modules"
		allowed["modules"] = "modules base archive/batch.h"
		allowed["api"] = "api base query/request.h"
		owner["lmdb.h"] = "index"
		owner["pcap.h"] = owner["pcap/pcap.h"] = owner["pcap/bpf.h"] = "ingest query"
		owner["seccomp.h"] = "base"
		owner["sqlite3.h"] = "query"
		owner["microhttpd.h"] = "api"
		owner["nettle/aes.h"] = "anonymize"
		owner["zstd.h"] = "archive ingest" # ingest: compressed trace files
		owner["lzma.h"] = owner["zlib.h"] = owner["lz4frame.h"] = owner["lz4.h"] = "ingest"
	}
	function listed(word, words,    n, v, i) {
		n = split(words, v, " ")
		for (i = 1; i <= n; i++)
			if (v[i] == word)
				return 1
		return 0
	}
	function breach(why) { printf "%s:%d: %s\n", FILENAME, FNR, why }
	{ split(FILENAME, path, "/"); here = path[1] }
	/^[ \t]*#[ \t]*include[ \t]*"/ {
		split($0, part, "\""); target = part[2]
		split(target, t, "/")
		if (target ~ /\.c$/)
			breach("includes a .c file")
		else if (target !~ /\// )
			breach("include " target " by its full path from the top")
		else if (!listed(t[1], allowed[here]) && !listed(target, allowed[here]))
			breach(here "/ may not include " target)
	}
	/^[ \t]*#[ \t]*include[ \t]*</ {
		target = $0; sub(/^[^<]*</, "", target); sub(/>.*/, "", target)
		if (target in owner && !listed(here, owner[target]))
			breach("<" target "> belongs to " owner[target] "/ only")
	}
	/crypto_(aead|secretbox|secretstream)_/ && here != "archive" { breach("sealing belongs to archive/ only") }
	/^main\(/ { breach("main() stands in tools/ and tests/ only") }
	' $(cat "$list") /dev/null
	find base ingest archive index anonymize query modules api tools -name '*.[ch]' 2>/dev/null |
		sed 's|.*/||' | sort | uniq -d | sed 's/$/: two files of this name/'
)
if [ -n "$breaches" ]; then
	echo "$breaches"
	exit 1
fi
echo "includes: $(wc -l < "$list") files in order"
