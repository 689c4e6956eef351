// Package wire joins a packet socket on one end of a veth pair with gVisor's TCP/IP stack. Checksums and segmentation are
// left to where packets end, so that they have up to 64 KiB. Linux only. It imports gVisor's stack and nothing of this
// module; only package usernet may import it.
package wire
