// Package e2e proves the first promise: published E2B SDKs, unmodified, drive a
// real server and real sandboxes. Its tests install the pinned SDKs, start the
// rundlet binary in namespaces of its own, run the suites under js/ and python/
// against it, and count what the server leaves behind. It may import only the
// standard library and golang.org/x/sys, so that nothing of the server can leak
// into what judges it; nothing imports it. See README.md.
package e2e
