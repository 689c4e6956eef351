// Package sandbox is the vocabulary that all of Rundlet shares: sandboxes and
// their states, snapshots, templates, continuations, requests, filters and
// errors. It imports the standard library only and does no I/O; any package may
// import it.
package sandbox
