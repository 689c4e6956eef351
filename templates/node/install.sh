#!/bin/sh
# Installs the packages of packages.txt to /opt/node: from tarballs in the directory tarballs, if there is one, and from the registry of
# npm otherwise. It needs sh, tar, gzip and the usual tools of coreutils or BusyBox; for the registry also curl, wget or python3.
set -eu
cd "$(dirname "$0")"
root=/opt/node
registry=${NPM_REGISTRY:-https://registry.npmjs.org}

fail() {
	echo "node: $1" >&2
	exit 1
}

case $(uname -m) in
x86_64) arch=x64 openssl=linux-x86_64 ;;
aarch64) arch=arm64 openssl=linux-aarch64 ;;
*) fail "no Node.js for the processor $(uname -m), only for x86_64 and aarch64" ;;
esac
for tool in tar gzip sha512sum base64 od; do
	command -v $tool >/dev/null || fail "the base has no $tool"
done

# fetch URL FILE
fetch() {
	if command -v curl >/dev/null; then
		curl -fsSL --connect-timeout 30 --retry 3 -o "$2" "$1"
	elif command -v wget >/dev/null; then
		wget -q -T 60 -O "$2" "$1"
	elif command -v python3 >/dev/null; then
		python3 -c 'import socket, sys, urllib.request; socket.setdefaulttimeout(60); urllib.request.urlretrieve(*sys.argv[1:])' "$1" "$2"
	else
		fail "the base has no curl, no wget and no python3 to download with: put the tarballs into the directory tarballs"
	fi
}

# unpack PACKAGE DIRECTORY: puts a package of packages.txt there, if its integrity is the one of the file.
unpack() {
	want=
	while read -r package version integrity; do
		[ "$package" != "$1" ] || want=${integrity#sha512-} name=$1-$version.tgz
	done <packages.txt
	[ -n "$want" ] || fail "packages.txt has no line of $1"
	file=tarballs/$name
	if [ ! -d tarballs ]; then
		file=/tmp/$name
		fetch "$registry/$1/-/$name" "$file" || fail "$registry did not give $name. Without the internet, put the tarballs into the directory tarballs"
	fi
	[ -f "$file" ] || fail "$name is not in the directory tarballs"
	have=$(sha512sum <"$file" | cut -d ' ' -f 1)
	[ "$have" = "$(printf %s "$want" | base64 -d | od -An -v -tx1 | tr -d ' \n')" ] || fail "$name is not what packages.txt expects: its sha512 is $have"
	mkdir -p "$2"
	gzip -dc "$file" | tar -xf - -C "$2" --strip-components=1 --no-same-owner || fail "$name cannot be unpacked"
	rm -f "$file"
}

rm -rf $root
unpack node-linux-$arch $root
$root/bin/node -e 0 || fail "Node.js does not run here: it needs glibc 2.28 or newer"
for package in npm pnpm yarn; do
	unpack $package $root/lib/node_modules/$package
done

# Headers of OpenSSL for other systems are most of the files.
for dir in $root/include/node/openssl/archs/*; do
	[ "${dir##*/}" = $openssl ] || rm -rf "$dir"
done
# link NAME PACKAGE/FILE: a program of a package. What is in /usr/local/bin comes before the host's /usr/bin, also for sudo.
link() {
	chmod 755 "$root/lib/node_modules/$2"
	ln -sf "../lib/node_modules/$2" "$root/bin/$1"
}
link npm npm/bin/npm-cli.js
link npx npm/bin/npx-cli.js
link pnpm pnpm/bin/pnpm.mjs
link pnpx pnpm/bin/pnpx.mjs
link yarn yarn/bin/yarn.js
link yarnpkg yarn/bin/yarn.js
mkdir -p /usr/local/bin
for program in "$root"/bin/*; do
	ln -sf "$program" /usr/local/bin/
done
# The version is pinned: npm need not ask for a newer one, for which it waits long without the internet.
mkdir -p $root/etc
echo update-notifier=false >$root/etc/npmrc
# What users install for all projects (-g) goes to the same directories.
chown -R user: $root
