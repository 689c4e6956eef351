// Package images has the commands of "rundlet image": they work on the images of the state
// directory, beside a daemon or without one. It may import cmd/rundlet/command, agent/embedded,
// node/statedir, the packages of image and the standard library.
package images
