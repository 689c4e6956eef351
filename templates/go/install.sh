#!/bin/sh
# Installs the toolchain of toolchains.txt to /opt/go: from a file in the directory toolchains, if there is one, and from the Go module
# proxy otherwise. It needs sh, unzip or python3, and the usual tools of coreutils and findutils or BusyBox; for the proxy also curl,
# wget or python3.
set -eu
cd "$(dirname "$0")"
root=/opt/go

fail() {
	echo "go: $1" >&2
	exit 1
}

case $(uname -m) in
x86_64) arch=amd64 ;;
aarch64) arch=arm64 ;;
*) fail "no toolchain for the processor $(uname -m), only for x86_64 and aarch64" ;;
esac
for tool in find xargs sort sha256sum base64 od; do
	command -v $tool >/dev/null || fail "the base has no $tool"
done
want=
while read -r name number hash; do
	[ "$name" != $arch ] || want=${hash#h1:} version=v0.0.1-go$number.linux-$arch
done <toolchains.txt
[ -n "$want" ] || fail "toolchains.txt has no line of $arch"

# fetch URL FILE
fetch() {
	if command -v curl >/dev/null; then
		curl -fsSL --connect-timeout 30 --retry 3 -o "$2" "$1"
	elif command -v wget >/dev/null; then
		wget -q -T 60 -O "$2" "$1"
	elif command -v python3 >/dev/null; then
		python3 -c 'import socket, sys, urllib.request; socket.setdefaulttimeout(60); urllib.request.urlretrieve(*sys.argv[1:])' "$1" "$2"
	else
		fail "the base has no curl, no wget and no python3 to download with: put $version.zip into the directory toolchains"
	fi
}

file=toolchains/$version.zip
if [ ! -d toolchains ]; then
	# GOPROXY may be a list; the first proxy of it is asked.
	proxy=${GOPROXY:-https://proxy.golang.org}
	proxy=${proxy%%[,|]*}
	file=/tmp/$version.zip
	fetch "$proxy/golang.org/toolchain/@v/$version.zip" "$file" || fail "$proxy did not give $version.zip. Without the internet, put it into the directory toolchains"
fi
[ -f "$file" ] || fail "$version.zip is not in the directory toolchains"

unpacked=$(mktemp -d /opt/go.XXXXXX)
trap 'rm -rf "$unpacked"' EXIT
if command -v unzip >/dev/null; then
	unzip -q "$file" -d "$unpacked"
elif command -v python3 >/dev/null; then
	python3 -m zipfile -e "$file" "$unpacked"
else
	fail "the base has no unzip and no python3 to unpack $version.zip with"
fi || fail "$version.zip cannot be unpacked"
rm -f "$file"
# The hash of a module is that of the list of its files with their hashes. Nothing that was unpacked is run before it is checked.
have=$(cd "$unpacked" && find . ! -type d | sed 's|^\./||' | LC_ALL=C sort | tr '\n' '\0' | xargs -0 sha256sum | sha256sum | cut -d ' ' -f 1)
[ "$have" = "$(printf %s "$want" | base64 -d | od -An -v -tx1 | tr -d ' \n')" ] || fail "$version.zip is not what toolchains.txt expects"
[ -z "$(find "$unpacked" ! -type d ! -type f)" ] || fail "$version.zip has files that are neither regular nor directories"

rm -rf $root
mv "$unpacked/golang.org/toolchain@$version" $root
# Zips of modules have no modes and no go.mod below their root: the go command mends both when it downloads a toolchain, as here.
chmod -R u=rwX,go=rX $root
chmod 755 $root/bin/* $root/pkg/tool/*/* $root/lib/*/go_*_exec
find $root -name _go.mod | while read -r mod; do
	cp "$mod" "${mod%/_go.mod}/go.mod"
done
# Tests of the toolchain itself are a quarter of it.
find $root -type d -name testdata -prune -exec rm -rf {} +
find $root/src -name '*_test.go' -exec rm -f {} +
mkdir -p /usr/local/bin
# What is in /usr/local/bin comes before the host's /usr/bin, also for sudo.
ln -sf $root/bin/* /usr/local/bin/
go version
