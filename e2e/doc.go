// Package e2e proves the first promise: published E2B SDKs, unmodified, drive a
// real server and real sandboxes. Its tests install the pinned SDKs, start the
// rundlet binary in separate namespaces, run the suites under js/ and python/
// against it, and count what the server leaves behind. Others kill the server at
// every step, cut the power at every write, and compare its store and its machine
// with what must be there. It drives the server by its API alone; nothing imports
// it. See README.md.
package e2e
