// Package nft builds nf_tables tables out of named matches and verdicts, and checks
// that a table in the kernel is still the one that was built. Linux only. It knows
// no slots and no policy, imports no package of this module but network/namespace,
// and only package network may import it.
package nft
