// Package dataplane carries requests to the agent and to the other ports of
// sandboxes: it reverse-proxies over a stream that the runtime dials, or joins the
// stream with the client's connection. It decides nothing about sandboxes. It may import sandbox, envd and e2b/internal; only e2b and
// e2b/control may import it.
package dataplane
