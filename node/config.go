package node

import (
	"log/slog"
	"net/netip"
	"os"

	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/policy/latency"
	"github.com/rundlet/rundlet/runtime"
	"github.com/rundlet/rundlet/runtime/admission"
	"github.com/rundlet/rundlet/runtime/pool"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/runtime/template"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// Config says how a node runs sandboxes. The zero value is a durable node with the
// default directories, limits and driver.
type Config struct {
	// Dirs are the root directories. Those that are empty come from the environment
	// or are the defaults of package layout. Open makes them. RunDir should be on a
	// tmpfs, and its path is at most 59 bytes long, since there are sockets below it.
	Dirs layout.Layout
	// Driver is the name of a driver; empty or vm.AutoDriver is the first that this
	// host can use.
	Driver string

	// Ephemeral gives the node a separate instance, beside the daemon of the state
	// directory and other ephemeral nodes. Its sandboxes end with it: by Close, or,
	// after a crash, by the next process that opens a node with the same RunDir.
	Ephemeral bool
	// AcceptEmptyDatabase opens a node whose database is empty although there are
	// saved snapshots, which are set aside.
	AcceptEmptyDatabase bool

	// NoUplink gives no sandbox a way to the internet, and changes nothing in the
	// host's network namespace.
	NoUplink bool
	// NetworkSlots is how many network slots are kept ready; 0 is the default of package
	// network, and a negative number none.
	NetworkSlots int
	// SandboxMbit and UplinkMbit are bandwidths in Mbit/s: of one sandbox to the
	// internet and back, and of all sandboxes to it. 0 is the default of package
	// network.
	SandboxMbit, UplinkMbit uint
	// Nameservers are the name servers of sandboxes; none means public ones.
	Nameservers []netip.Addr
	// Mirrors are registries of container images that are tried before others: base URLs by the host of
	// the registry, such as docker.io. They may be at private addresses.
	Mirrors map[string]string
	// PrivateRegistries are hosts, with a port if it is not the usual one, of registries at private addresses that clients
	// may name.
	PrivateRegistries []string
	// Denied are destinations that no sandbox reaches, whatever its rules allow.
	Denied []netip.Prefix

	// Capacity says how much of the machine sandboxes may have; the zero value is
	// DefaultCapacity.
	Capacity Capacity
	// Shares bound the objects of one API key; the zero value is admission.DefaultShares.
	Shares admission.Shares
	// Warm is the number of machines of the base that are kept warm; the zero value is none.
	Warm pool.Target
	// WarmTemplates is how many sandboxes are kept running of templates that clients build, by name: together no more than
	// Capacity has.
	WarmTemplates map[string]int
	// Size is that of a sandbox whose template does not say; the zero value is
	// sandbox.DefaultSize.
	Size sandbox.Size
	// BaseImage makes one image of the template base in the background, a copy of the host's /usr,
	// and uses it when it is there: see docs/operations.md.
	BaseImage bool
	// BaseContainer is the name of a container image that the template base is made of, in place of the host's /usr; empty: none. It is
	// pulled if it is not among the images of the node.
	BaseContainer string
	// Supervision watches running sandboxes and the host; the zero value is off. A
	// program that keeps a node open takes runtime.DefaultSupervision. Open fills in
	// Sample, Limits and Swap.
	Supervision runtime.Supervision

	// Log is the log of the node; nil discards it.
	Log *slog.Logger
	// Progress receives a line about each long operation, such as building the base. It
	// may be nil.
	Progress func(line string)
	// Opened is called with the database before anything is recovered; an error fails
	// Open. It may be nil.
	Opened func(*store.Store) error
	// Recovering is called with how many of the sandboxes of an earlier process were
	// recovered so far, from several goroutines. It may be nil.
	Recovering func(done, total int)
	// Latency takes the latency samples; nil gives the runtime a private recorder.
	Latency *latency.Recorder
	// Tracer is called for every stage of the runtime; it may be nil.
	Tracer step.Tracer
}

// complete fills in defaults and makes the directories.
func (c *Config) complete() (err error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Capacity == (Capacity{}) {
		c.Capacity = DefaultCapacity
	}
	if err := c.Capacity.check(); err != nil {
		return err
	}
	if err := pool.Check(c.Warm, template.BaseAlias, c.WarmTemplates, c.Capacity.Overcommit.Sandboxes); err != nil {
		return err
	}
	if c.Dirs, err = layout.Resolve(c.Dirs, os.Getenv); err != nil {
		return err
	}
	return c.Dirs.Make(c.Log)
}
