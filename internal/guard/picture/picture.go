// Package picture says which packages of this module may import which: the picture in
// docs/architecture.md. internal/guard enforces it. It may import the standard library only.
package picture

import "strings"

// Layer says what the packages in and below a directory may import of this
// module. The first layer that matches a directory counts.
type Layer struct {
	Dir string   // What it is about, and all below.
	May []string // What may be imported, and all below; empty is nothing, an empty string everything.
	Why string
}

// Layers is the picture: an arrow may only point down.
var Layers = []Layer{
	{"cmd", []string{""}, "flags in, text out: it may use any package"},
	{"e2e", []string{""}, "drives the whole product from outside"},
	{"node/statedir", []string{"layout", "store", "host", "vm", "internal"}, "guards the state directory before there is a node"},
	{"node/keys", []string{"node/statedir", "e2b", "sandbox", "store", "layout", "internal"}, "keeps keys, and knows no sandbox"},
	{"node/certificate/acme", []string{"internal/retry"}, "gets certificates from an authority, and serves nothing"},
	{"node/certificate", nil, "makes and reads certificates, and serves nothing"},
	{"node/rootless/delegated", nil, "knows control groups, and no node"},
	{"node/rootless", []string{"node/rootless/delegated", "network/usernet", "vm", "internal/flock", "internal/retry"}, "enters the namespaces of a user's node, and opens none"},
	{"node/names", nil, "answers DNS queries for one domain, and knows no sandbox"},
	{"node/accesslog", []string{"e2b"}, "writes lines about requests, and serves none"},
	{"node/roots", []string{"image", "runtime/template", "sandbox", "store", "vm", "envd", "host", "policy/disk", "layout", "agent/embedded", "node/space"},
		"has the root file systems of templates, and knows no sandbox"},
	{"node", []string{"node", "e2b", "runtime", "sandbox", "policy", "template", "image", "network", "store", "host", "vm", "vm/drivers", "envd", "agent/embedded", "api",
		"client", "layout", "telemetry", "doctor", "internal"}, "assembles the packages below it, and is not a command"},
	{"e2b/control/templates", []string{"e2b/internal", "sandbox", "api", "internal"}, "has the operations on templates; it listens nowhere and checks no key"},
	{"e2b/control/events", []string{"e2b/internal", "sandbox", "api", "internal"}, "has the operations on events; it listens nowhere and checks no key"},
	{"e2b/internal", []string{"e2b/internal", "sandbox", "envd", "api", "internal"}, "knows neither the control plane nor the data plane"},
	{"e2b/dataplane", []string{"e2b/internal", "sandbox", "envd", "api", "internal"}, "carries requests to sandboxes, and knows no operation of the API"},
	{"e2b/control", []string{"e2b/control/events", "e2b/control/templates", "e2b/dataplane", "e2b/internal", "sandbox", "envd", "api", "internal"}, "has the operations of the API; it listens nowhere and checks no key"},
	{"e2b", []string{"e2b", "sandbox", "envd", "api", "internal"}, "the E2B surface knows no driver, no store and no network"},
	{"runtime/background", nil, "runs goroutines, and knows nothing of what they do"},
	{"runtime/step", []string{"policy/latency"}, "declares steps and stages"},
	{"runtime/fault", []string{"sandbox", "store", "host", "vm"}, "maps errors of what is below to those of the vocabulary"},
	{"runtime/orphan", []string{"sandbox", "store", "vm"}, "keeps what no row claims, and knows no claim"},
	{"runtime/pager", []string{"sandbox", "policy", "host", "vm", "runtime/live"}, "pages idle sandboxes out, and changes no state"},
	{"runtime/usage", []string{"sandbox", "envd", "vm"}, "measures sandboxes, and changes none"},
	{"runtime/admission", []string{"sandbox", "policy", "runtime/fault"}, "admits requests; creates no machines"},
	{"runtime/claim", []string{"sandbox", "policy", "store", "vm", "runtime/background", "runtime/step", "runtime/fault", "runtime/orphan"},
		"knows snapshots and their claims, and no machine"},
	{"runtime/machine", []string{"sandbox", "policy", "envd", "api", "host", "vm", "runtime/background", "runtime/step", "runtime/claim"},
		"makes and tears down one machine, and knows neither rows nor states"},
	{"runtime/pool", []string{"sandbox", "policy", "vm", "internal/retry", "runtime/background", "runtime/step", "runtime/claim", "runtime/machine", "runtime/admission"},
		"keeps machines warm, and knows no sandbox"},
	{"runtime/template", []string{"sandbox", "policy", "store", "vm", "runtime/background", "runtime/step", "runtime/fault", "runtime/orphan",
		"runtime/claim", "runtime/machine", "runtime/admission"}, "builds templates, and knows no sandbox and no pool"},
	{"runtime/live", []string{"sandbox", "policy", "store", "internal/halfclose", "runtime/background", "runtime/fault", "runtime/admission"},
		"knows the sandboxes, and changes no machine and no row of the store"},
	{"runtime/recovery", []string{"sandbox", "policy", "envd", "store", "vm", "runtime/background", "runtime/machine"},
		"decides after a restart, and changes states through an interface"},
	{"runtime/supervise", []string{"sandbox", "policy", "envd", "host", "vm", "runtime/background", "runtime/claim", "runtime/machine", "runtime/pool"},
		"watches the host and the sandboxes, and changes states through an interface"},
	{"runtime/events", []string{"sandbox", "policy/snapshot", "store", "runtime/fault", "runtime/live"}, "decides which events changes are, and writes no row"},
	{"runtime/rows", []string{"sandbox", "store", "runtime/events", "runtime/live"}, "writes rows of sandboxes, and decides nothing"},
	{"runtime/end", []string{"sandbox", "policy/latency", "store", "vm", "internal", "runtime/background", "runtime/step", "runtime/fault", "runtime/claim", "runtime/machine",
		"runtime/admission", "runtime/live", "runtime/rows"}, "ends sandboxes, whatever they do, and makes none"},
	{"runtime/save", []string{"sandbox", "policy", "store", "vm", "runtime/background", "runtime/step", "runtime/fault", "runtime/orphan", "runtime/claim", "runtime/machine",
		"runtime/admission", "runtime/recovery", "runtime/live", "runtime/rows", "runtime/end", "runtime/events"}, "saves running sandboxes, and makes none"},
	{"runtime/refresh", []string{"sandbox", "policy", "store", "internal/retry", "runtime/background", "runtime/step", "runtime/fault", "runtime/machine", "runtime/live", "runtime/rows"},
		"syncs checkouts in running sandboxes, and makes, saves and ends none"},
	{"runtime/start", []string{"sandbox", "policy", "store", "vm", "runtime/background", "runtime/step", "runtime/fault", "runtime/orphan", "runtime/claim", "runtime/machine",
		"runtime/admission", "runtime/pool", "runtime/template", "runtime/live", "runtime/rows", "runtime/end", "runtime/save"}, "makes sandboxes run"},
	{"runtime/build/lines", []string{"sandbox"}, "keeps lines, and knows no build"},
	{"runtime/build/uploads", nil, "keeps files, and knows no build"},
	{"runtime/build/turns", nil, "divides places, and knows no build"},
	{"runtime/build/recipe", []string{"sandbox"}, "reads recipes, and does nothing"},
	{"runtime/build/layers", []string{"sandbox", "store", "vm", "runtime/claim", "runtime/fault"}, "keeps what builds saved, and does none"},
	{"runtime/build/steps", []string{"sandbox", "runtime/machine", "runtime/build/lines", "runtime/build/recipe", "runtime/build/site"}, "does steps by commands, and saves nothing"},
	{"runtime/build/fold", []string{"store", "vm", "envd", "runtime/background", "runtime/claim", "runtime/step", "runtime/build/site"},
		"makes an image of what a build wrote, and does no step"},
	{"runtime/build/site", []string{"sandbox", "policy", "store", "vm", "envd", "api", "runtime/background", "runtime/step", "runtime/fault", "runtime/orphan", "runtime/claim",
		"runtime/machine", "runtime/admission", "internal/retry"}, "has the machine of a build, and knows no recipe"},
	{"runtime/build", []string{"sandbox", "policy", "store", "vm", "envd", "api", "runtime/background", "runtime/step", "runtime/fault", "runtime/orphan", "runtime/claim",
		"runtime/machine", "runtime/admission", "runtime/template", "runtime/build", "internal/retry"}, "builds templates, and knows no sandbox"},
	{"runtime/warm", []string{"sandbox", "store", "runtime/claim", "runtime/fault", "runtime/pool", "runtime/template"}, "decides how many machines are kept, and makes none"},
	{"runtime/change", []string{"sandbox", "policy/egress", "store", "runtime/fault", "runtime/live", "runtime/machine", "runtime/rows"},
		"changes running sandboxes in place, and makes, saves and ends none"},
	{"runtime/settle", []string{"sandbox", "policy", "store", "host", "vm", "runtime/background", "runtime/orphan", "runtime/claim", "runtime/machine", "runtime/admission",
		"runtime/recovery", "runtime/supervise", "runtime/live", "runtime/rows", "runtime/end", "runtime/save", "runtime/start", "internal"}, "applies what recovery and supervision decide"},
	{"runtime", []string{"runtime", "sandbox", "policy", "template", "image", "network", "store", "host", "vm", "envd", "api", "layout", "internal"},
		"the runtime composes what is below it and knows no wire protocol"},
	{"policy", []string{"policy", "sandbox", "vm"}, "policy is pure: it takes a state and returns a decision"},
	{"simulate/timeline", nil, "has virtual time, and knows nothing of what happens in it"},
	{"simulate/report", []string{"policy", "simulate/timeline"}, "records a run, and knows no machine"},
	{"simulate/world", []string{"policy", "simulate/timeline", "simulate/report"}, "has the simulated host, and decides nothing"},
	{"simulate/daemon", []string{"sandbox", "policy", "vm", "simulate/world", "simulate/report"}, "acts in a simulated world, and knows no scenario"},
	{"simulate", []string{"simulate", "policy"}, "plays scenarios against the policies: no machine, no clock"},
	{"template", []string{"template", "vm", "api", "internal"}, "one mechanism each: mechanisms don't know each other"},
	{"image", []string{"image", "vm", "internal"}, "one mechanism each: mechanisms don't know each other"},
	{"network/namespace/namespacetest", []string{"network/namespace"}, "makes namespaces for tests"},
	{"network/namespace", []string{"internal/netns"}, "the other packages of network stand on it"},
	{"network/conntrack", []string{"network/namespace"}, "reads and deletes tracked flows, and decides nothing"},
	{"network/tracked", []string{"network/conntrack", "network/ipv6"}, "deletes tracked flows of any guests, and knows no slot"},
	{"network/nft", []string{"network/namespace"}, "writes and compares any table of rules, and knows none"},
	{"network/queues", []string{"network/namespace"}, "makes the queues of a link, and knows no slot"},
	{"network/shares", []string{"network/nft", "network/queues"}, "bounds the flows and bytes of any link, and knows no slot"},
	{"network/bound", nil, "remembers addresses of names, and knows no slot"},
	{"network/refused", []string{"network/nft"}, "reads what is logged, and knows no slot"},
	{"network/record", []string{"network/slash30", "internal/format"}, "reads and writes a file, and changes no network"},
	{"network/seen", []string{"network/refused"}, "records what is seen, and knows no policy"},
	{"network/hostname", nil, "says what a host name is, and knows no policy"},
	{"network/names", []string{"network/hostname"}, "answers name queries of guests, and knows no slot"},
	{"network/gateway", []string{"network/hostname", "internal/halfclose"}, "passes on connections whose host it checks, and knows no slot"},
	{"network/socks/sockstest", nil, "is a proxy for tests"},
	{"network/socks", []string{"network/socks/sockstest"}, "connects through proxies, and knows no guest"},
	{"network/policies", []string{"network/socks"}, "compares what slots reach, and puts nothing in force"},
	{"network/ranges", []string{"network/nft", "network/policies"}, "writes policies as elements of sets, and knows no slot"},
	{"network/slash30", nil, "divides a range, and knows no slot"},
	{"network/byname", []string{"network/namespace", "network/nft", "network/names", "network/gateway", "network/socks"}, "serves any guests, and knows no policy"},
	{"network/settle", []string{"network/namespace"}, "mends addresses, routes and switches, and knows none"},
	{"network/links", []string{"network/namespace", "network/settle", "network/slash30"}, "makes and lists any links, and knows no slot"},
	{"network/ipv6", []string{"network/namespace", "network/nft", "network/settle", "network/slash30"}, "knows guests by their addresses, and no policy"},
	{"network/changes", []string{"network/namespace", "network/nft"}, "reports that something has changed, and mends nothing"},
	{"network/usernet/wire", nil, "joins a socket with a stack, and knows no connection"},
	{"network/usernet/carry", nil, "copies, and decides nothing"},
	{"network/usernet/resolvers", nil, "passes queries on, and knows no guest"},
	{"network/usernet", []string{"network/usernet", "network/namespace"}, "links a namespace to the host without root, and knows no guest"},
	{"network", []string{"network", "vm", "internal"}, "one mechanism each: mechanisms don't know each other"},
	{"store/internal/database", nil, "opens and copies a database file, and knows no table"},
	{"store/internal/table", []string{"store/internal/database"}, "keeps values of any table, and knows none"},
	{"store/builds", []string{"store/internal", "sandbox"}, "has the tables of builds, and knows no other"},
	{"store/journal", []string{"store/internal", "sandbox"}, "has the table of events, and knows no other"},
	{"store", []string{"store", "sandbox", "vm", "internal"}, "one mechanism each: mechanisms don't know each other"},
	{"host", []string{"host", "internal"}, "one mechanism each: mechanisms don't know each other"},
	{"envd", []string{"envd"}, "the agent imports it too, and what it imports is in every guest"},
	{"vm/drivers", []string{"vm", "vm/gvisor", "vm/firecracker", "vm/qemu"}, "brings the drivers in, and has no code"},
	{"vm/vmtest", []string{"vm/vmtest", "vm"}, "the suite judges every driver, so it knows none"},
	{"vm/memvm", []string{"vm/memvm", "vm", "internal"}, "a driver holds no business logic"},
	{"vm/gvisor/files", []string{"internal/durable", "internal/process"}, "knows paths and keys, and nothing of what they mean"},
	{"vm/gvisor/oci", []string{"vm"}, "translates specs, and starts nothing"},
	{"vm/gvisor/control", nil, "asks a sandbox, and knows no machine"},
	{"vm/gvisor/links", []string{"vm/gvisor/control", "internal/netns"}, "reads any network namespace, and knows no machine"},
	{"vm/gvisor/spawn", []string{"vm/gvisor/control", "vm/gvisor/launch", "vm/gvisor/oci", "internal/netns", "internal/cgroups"}, "starts processes, and knows no machine"},
	{"vm/gvisor/snapshots", []string{"vm", "vm/gvisor/control", "vm/gvisor/files", "vm/gvisor/launch", "vm/gvisor/oci", "internal/durable", "internal/format"}, "keeps snapshots, and knows no machine"},
	{"vm/gvisor/mover", []string{"vm", "vm/gvisor/engine", "vm/gvisor/snapshots"}, "moves snapshots, and knows no machine"},
	{"vm/gvisor/sentry", []string{"vm", "internal/collector", "internal/cgroups", "vm/gvisor/budget", "vm/gvisor/launch", "vm/gvisor/sentry"}, "runs in the sandbox process, where nothing of the driver is"},
	{"vm/gvisor", []string{"vm/gvisor/budget", "vm/gvisor/control", "vm/gvisor/engine", "vm/gvisor/files", "vm/gvisor/launch", "vm/gvisor/layer", "vm/gvisor/links", "vm/gvisor/mover",
		"vm/gvisor/oci", "vm/gvisor/pages", "vm/gvisor/snapshots", "vm/gvisor/spawn", "vm", "internal"}, "a driver holds no business logic and knows no other driver"},
	{"vm/firecracker/api", nil, "asks a Firecracker process, and knows no machine"},
	{"vm/firecracker", []string{"vm/firecracker", "vm/microvm/copies", "vm/microvm/driver", "vm/microvm/kernel", "vm/microvm/link", "vm/microvm/machine", "vm/microvm/program", "vm/microvm/snapshots", "vm/microvm/spec", "vm/microvm/tap", "vm/microvm/untrusted", "vm", "internal"}, "a driver holds no business logic and knows no other driver"},
	{"vm/microvm/link", nil, "is spoken by both sides: what it imports is in every guest"},
	{"vm/microvm/guest", []string{"vm/microvm/link"}, "runs as the first process of a guest, where nothing of the host is"},
	{"vm/microvm/copies", nil, "copies files and memory, and knows no machine"},
	{"vm/microvm/tap", []string{"vm/microvm/link"}, "joins network cards, and knows no machine"},
	{"vm/microvm/kernel", []string{"internal/durable", "internal/flock"}, "keeps kernels, and knows no machine"},
	{"vm/microvm/program", []string{"internal/embedded"}, "carries a program, and starts none"},
	{"vm/microvm/untrusted", nil, "opens files and sockets, and knows no machine"},
	{"vm/microvm/spec", []string{"vm"}, "checks specs, and starts nothing"},
	{"vm/microvm/snapshots", []string{"vm/microvm/spec", "vm", "internal"}, "keeps snapshots, and knows no machine"},
	{"vm/microvm/machine", []string{"vm/microvm/copies", "vm/microvm/kernel", "vm/microvm/link", "vm/microvm/snapshots", "vm/microvm/spec", "vm/microvm/untrusted", "vm", "internal"}, "asks guests and any monitor, and knows no ids and records"},
	{"vm/microvm/drivertest", []string{"vm/microvm/driver", "vm/microvm/kernel", "vm/vmtest", "image/erofs", "envd", "vm", "internal"}, "tests any driver of virtual machines, and is in no program"},
	{"vm/microvm/driver", []string{"vm/microvm/kernel", "vm/microvm/link", "vm/microvm/machine", "vm/microvm/program", "vm/microvm/snapshots", "vm/microvm/spec", "vm", "internal"}, "a driver over any hypervisor, which knows none"},
	{"vm/qemu/qmp", nil, "asks a QEMU process, and knows no machine"},
	{"vm/qemu", []string{"vm/qemu", "vm/microvm/copies", "vm/microvm/driver", "vm/microvm/kernel", "vm/microvm/link", "vm/microvm/machine", "vm/microvm/program", "vm/microvm/snapshots", "vm/microvm/spec", "vm/microvm/tap", "vm/microvm/untrusted", "vm", "internal"}, "a driver holds no business logic and knows no other driver"},
	{"vm", nil, "the driver contract imports the standard library only"},
	{"sandbox", nil, "the vocabulary imports the standard library only"},
	{"agent", []string{"agent", "envd", "api", "internal"}, "the agent runs in the guest: nothing of the host is there"},
	{"client", []string{"client", "sandbox", "envd", "api", "internal/halfclose"}, "what an SDK would do: it knows the server by its wire only"},
	{"bench/local", []string{"bench", "client", "e2b", "envd", "host", "layout", "network", "node", "policy", "runtime", "sandbox", "vm", "internal"},
		"opens nodes to measure; it is part of no daemon"},
	{"bench", []string{"bench", "client", "sandbox", "policy", "runtime", "vm", "envd", "api", "internal"}, "measures the product and the bare mechanism side by side"},
	{"api", []string{"api"}, "generated types depend on nothing of ours"},

	{"rotate", []string{"policy/hygiene"}, "rotates the daemon's log according to the plan of hygiene"},
	{"layout", nil, "where things are on disk is known before anything else"},
	{"telemetry", []string{"telemetry", "sandbox", "policy"}, "exports what node reads from the other packages"},
	{"doctor", []string{"doctor", "internal"}, "packages report to the doctor through a function, so it knows none of them"},
	{"internal/netns", nil, "enters any network namespace, and knows none"},
	{"internal/process/processtest", nil, "takes descriptors away from tests"},
	{"internal/testspace", nil, "ends what any tests leave, and knows none"},
	{"internal/testmachine/frame", nil, "carries output, and knows no machine"},
	{"internal/testmachine", []string{"internal/testmachine", "vm/microvm/kernel"}, "runs any program in a machine, and knows none"},
	{"internal", []string{"internal", "vm"}, "internal packages are tools of the others"},
}

// exactly are may entries that match the named package only, not what is below
// it: a driver or suite must not come in by way of its contract.
var exactly = map[string]bool{"vm": true}

// Of is the layer of a directory.
func Of(dir string) (Layer, bool) {
	for _, l := range Layers {
		if within(dir, l.Dir) {
			return l, true
		}
	}
	return Layer{}, false
}

// Allows reports whether packages of the layer may import a package of this module.
func (l Layer) Allows(target string) bool {
	for _, may := range l.May {
		switch {
		case may == "":
			return true
		case exactly[may]:
			if target == may {
				return true
			}
		case within(target, may):
			return true
		}
	}
	return false
}

// within reports whether dir is in the directory or below it.
func within(dir, in string) bool { return dir == in || strings.HasPrefix(dir, in+"/") }
