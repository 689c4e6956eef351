#!/bin/sh
# Compiles the packages of the standard library that programs import most, and links, vets and tests a program with them, so that the
# first go run, go build, go vet and go test of a sandbox find them in the cache of builds.
set -eu
cd "$(dirname "$0")"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cp ./*.go.txt "$dir"
cd "$dir"
# They end in .txt so that the module around the recipe does not take them for a package.
for file in *.go.txt; do
	mv "$file" "${file%.txt}"
done
go mod init warm-up 2>/dev/null
go run .
go vet .
go test .
# The go command removes what no build has used for five days, by its time. A template may be older when a sandbox of it builds.
find "$(go env GOCACHE)" -type f -exec touch -d '2099-01-01 00:00' {} +
