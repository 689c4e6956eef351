// Package command has what the commands of rundlet share: the flags that all of them have,
// the way to a daemon and to a guest, and the form of their output.
//
// It may import client, layout, store, image/oci/registry and the packages below node; the commands import it.
package command
