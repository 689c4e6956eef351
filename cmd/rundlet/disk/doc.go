// Package disk has the commands about what takes the room on the disk of a node: "rundlet df" and "rundlet
// prune". They work on the state directory, beside a daemon or without one. It may import cmd/rundlet/command,
// node/prune, node/space and the standard library.
package disk
