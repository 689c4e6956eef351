// Package shares bounds what one link of many may have of the flows that the kernel tracks, and of the bandwidth. Linux
// only. It knows no slots and no policies, and only package network may import it.
package shares
