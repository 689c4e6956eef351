// Package remote has the commands that ask a running daemon, on this host or another: those
// of sandboxes and snapshots.
//
// It may import client, store, policy/egress/bundle and cmd/rundlet/command; only cmd/rundlet imports it.
package remote
