// Package wire converts between the protocol and the vocabulary: what answers look like, and what
// the parameters of requests say. It decides nothing and asks nobody. It may import the generated
// API, sandbox and what other packages of e2b have to say of ids and refusals; only packages of e2b import it.
package wire
