// Package rootless runs a node for an ordinary user. The node still gets root, of a user namespace: there it may make network
// namespaces, packet filters, mounts and sandboxes as root of the host may, and on the host it is the user.
//
//	the host's namespaces                      the node's namespaces: user, mount, network, control group
//	rundlet serve ── replaced by nsenter ────▶ rundlet serve, as root
//	rundlet-sockets (what it listens on) ◀───▶   its one socket to the outside
//	rundlet-gateway (the internet) ◀─────────▶ the other end of a link
//	                                           sleep: keeps the namespaces while no daemon runs
//
// Enter is called by a command that needs a node. It makes the namespaces, or finds those of an earlier command, starts the processes
// outside and replaces its own process by the same command inside. That is one process for the terminal and for a service manager: signals,
// exit code and standard streams are its own. Sandboxes outlive a daemon, so the namespaces do, too: a
// process that does nothing keeps them (sandboxes' processes keep only their own), until Leave finds that nothing else is
// in them. If it was killed, the next command starts another in the namespaces of a command that is inside. Without one, the network of
// the sandboxes is gone, and no command could reach them: the next one ends them.
//
// The processes outside have no privilege. One opens the sockets on which a daemon listens, and ends with it. The other is the gateway
// of the node's network namespace (package network/usernet), and ends with the namespaces.
//
// User and group ids of sandboxes are the subordinate ids that the host gives the user in /etc/subuid and /etc/subgid; newuidmap and
// newgidmap map them. Limits need control groups that the user may divide: a user's own service manager delegates them.
//
// It may import network/usernet, node/rootless/delegated, vm (for hints), internal/flock, internal/retry and the standard library; cmd and node/daemon import it.
package rootless
