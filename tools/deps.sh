#!/bin/sh
# Installs the Debian packages that the build, the demo and the tests need, when one is missing. Silent and offline when
# nothing is. On another system: says what is needed and exits 1.
set -u

packages="gcc libc6-dev make pkg-config python3
liblmdb-dev libzstd-dev libpcap-dev libsodium-dev liblz4-dev liblzma-dev zlib1g-dev libseccomp-dev
libmicrohttpd-dev nettle-dev libcmocka-dev
clang clang-format libclang-rt-dev
tcpdump tshark zstd xz-utils lz4 nfdump python3-nacl tcpreplay iproute2 openssl"

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
	for tool in ${CC:-gcc} pkg-config python3 tcpdump; do
		command -v "$tool" >/dev/null || lacking="${lacking:-} $tool"
	done
	if [ -z "${lacking:-}" ] && pkg-config --exists lmdb libzstd libpcap libsodium liblz4 liblzma zlib libseccomp libmicrohttpd \
		nettle cmocka; then
		exit 0
	fi
	cat >&2 <<-END
	This is not a Debian system, so nothing is installed for you. Needed, with headers:
	  gcc 12 or clang 14 or newer, GNU make, pkg-config, python3
	  LMDB, zstd, libpcap, libsodium, lz4, liblzma, zlib, libseccomp, libmicrohttpd, nettle, cmocka
	and for all of the tests and benchmarks:
	  clang with its sanitizer and fuzzer runtimes, clang-format, tcpdump, tshark, zstd, xz, lz4, nfdump, PyNaCl, tcpreplay
	END
	exit 1
fi

missing=
for package in $packages; do
	status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)
	[ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

as_root=
if [ "$(id -u)" != 0 ]; then
	if ! command -v sudo >/dev/null; then
		echo "Missing packages, and neither root nor sudo at hand. As root: apt-get install$missing" >&2
		exit 1
	fi
	as_root=sudo
fi
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
if $as_root apt-get update -q && $as_root apt-get install -y -q --no-install-recommends $missing; then
	exit 0
fi
echo "The installation failed. Needed:$missing" >&2
exit 1
