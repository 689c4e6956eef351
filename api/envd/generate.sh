#!/bin/sh
# Generates api/gen/envd from the .proto files beside this script. It needs
# protoc and the well-known types (Debian: protobuf-compiler, libprotobuf-dev);
# the plugins are those that go.mod pins.
set -eu
if ! command -v protoc >/dev/null; then
	echo "generate: protoc is missing: apt-get install protobuf-compiler libprotobuf-dev" >&2
	exit 1
fi
cd "$(dirname "$0")/../.."
plugins=$(mktemp -d)
trap 'rm -rf "$plugins"' EXIT
go build -o "$plugins" google.golang.org/protobuf/cmd/protoc-gen-go connectrpc.com/connect/cmd/protoc-gen-connect-go
rm -rf api/gen/envd
PATH="$plugins:$PATH" protoc -I api/envd --experimental_allow_proto3_optional \
	--go_out=. --go_opt=module=github.com/rundlet/rundlet \
	--connect-go_out=. --connect-go_opt=module=github.com/rundlet/rundlet \
	process/process.proto filesystem/filesystem.proto
# The connect plugin repeats the comment of the message package under its own name.
sed -i -E 's|^// Package (process\|filesystem)pb is the generated wire form|// Package \1pbconnect is the generated client and handler|' api/gen/envd/*/*connect/*.go
