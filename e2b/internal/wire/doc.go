// Package wire converts between the protocol and the vocabulary: what answers look like, and what
// the ids, names and parameters of requests say. It decides nothing. It may import
// sandbox, envd, the generated API and e2b/internal/refusal; only packages of e2b import it.
package wire
