// Package kernels has the commands of "rundlet kernel": the kernels of the state directory that guests boot, for drivers that boot one. It may
// import cmd/rundlet/command, vm/microvm/kernel and node/statedir.
package kernels
