// Package dataplane carries requests to the agent and to the other ports of
// sandboxes: it finds out from a request which port of which sandbox is meant and
// reverse-proxies over a stream that the runtime dials. It decides nothing about
// sandboxes. It may import sandbox, envd and e2b/internal; only e2b and
// e2b/control may import it.
package dataplane
