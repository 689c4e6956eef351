// Package disk has the commands about what takes the room on the disk of a node: "rundlet df". They work
// on the state directory, beside a daemon or without one. It may import cmd/rundlet/command, node,
// node/space and the standard library.
package disk
