package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/rundlet/rundlet/cmd/rundlet/command"
	"github.com/rundlet/rundlet/internal/stdlog"
	"github.com/rundlet/rundlet/node"
	"github.com/rundlet/rundlet/node/certificate/acme"
	"github.com/rundlet/rundlet/node/daemon"
	"github.com/rundlet/rundlet/node/rootless"
	"github.com/rundlet/rundlet/policy/warmpool"
	"github.com/rundlet/rundlet/runtime"
	"github.com/rundlet/rundlet/vm"
)

const daemonListen = daemon.DefaultListen

func newServe(o *command.Options) *cobra.Command {
	var logs logOptions
	var cfg daemon.Config
	var tls, address string
	var proxies, nameservers, denied, mirrors []string
	var base, access string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the E2B API and the data plane of sandboxes",
		Long: `Serve the E2B API and the data plane of sandboxes on one port.

Ctrl-C kills the running sandboxes; paused ones and snapshots are kept. After
SIGTERM, which service managers send, or a crash, sandboxes keep running and the
next "rundlet serve" takes them over. So they do after SIGHUP, unless --access-log
names a file: then it has the file opened again, for logrotate.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, end, err := logs.open(cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			defer end()
			if access != "" {
				add, endAccess, err := openAccessLog(access, cmd.OutOrStdout(), log)
				if err != nil {
					return err
				}
				defer endAccess()
				cfg.Access = add
			}
			if err := parseTLS(tls, &cfg.TLS); err != nil {
				return err
			}
			if cfg.NamesAddress, err = parseAddress(address); err != nil {
				return err
			}
			if cfg.TrustedProxies, err = parseNetworks("trusted-proxy", proxies); err != nil {
				return err
			}
			if cfg.Node.Denied, err = parseNetworks("deny-egress", denied); err != nil {
				return err
			}
			if cfg.Node.Mirrors, err = command.Mirrors(mirrors); err != nil {
				return err
			}
			if cfg.Node.Nameservers, err = parseNameservers(nameservers); err != nil {
				return err
			}
			if cfg.Node.Dirs, err = o.LayoutLogging(log); err != nil {
				return err
			}
			if cfg.Node.BaseImage, cfg.Node.BaseContainer, err = node.ParseBase(base); err != nil {
				return err
			}
			cfg.Version, cfg.Node.Log = version, log
			cfg.Sockets = rootless.Of()
			cfg.Node.Progress = func(line string) { log.Info(line) }
			cfg.Ending = func(cause error) node.Ending {
				if stoppedBy(cause, os.Interrupt) {
					return node.EndRunning
				}
				return node.LeaveAll
			}
			out := cmd.OutOrStdout()
			if access == accessToStdout { // Which has lines of JSON only.
				out = cmd.ErrOrStderr()
			}
			cfg.Ready = func(url string) {
				fmt.Fprintf(out, "rundlet listening on %s\n", url)
				fmt.Fprintf(out, "in another shell: eval \"$(%s env)\"\n", os.Args[0])
			}
			defer stdlog.Take(log)()
			return daemon.Serve(cmd.Context(), cfg)
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Listen, "listen", "", "address of the API and the data plane (default "+daemonListen+"; with TLS the port of the domain)")
	f.StringVar(&cfg.MetricsListen, "metrics-listen", "", "loopback address that serves /metrics without an API key (default none; the API serves it with a key)")
	f.StringVar(&cfg.Domain, "domain", "", "domain, with a port where clients need one, whose subdomains PORT-SANDBOX.DOMAIN are routed to sandboxes (with --tls local default "+daemon.DefaultDomain+")")
	f.StringVar(&tls, "tls", "off", `off; local: certificates of an authority of this state directory, see "rundlet tls"; or acme: those of a public one, whose terms you accept`)
	f.StringVar(&cfg.TLS.CertFile, "tls-cert", "", "serve TLS with the certificate chain in this PEM file; a renewed file is taken over")
	f.StringVar(&cfg.TLS.KeyFile, "tls-key", "", "PEM file with the key of --tls-cert")
	f.StringVar(&cfg.NamesListen, "dns", "", "address, such as 127.0.0.1:5353, of a DNS server for the names of --domain (default none)")
	f.StringVar(&address, "dns-address", "", "address that --dns answers with (default where the daemon listens)")
	f.StringVar(&cfg.TLS.ACMEHook, "acme-hook", "", `program for proofs by DNS, called as "PROGRAM present NAME VALUE" and "PROGRAM remove NAME VALUE" (default --dns answers)`)
	f.StringVar(&cfg.TLS.ACMEEmail, "acme-email", "", "address that the authority of --tls acme may write to")
	f.StringVar(&cfg.TLS.ACMEDirectory, "acme-directory", acme.LetsEncrypt, "directory URL of the authority of --tls acme")
	f.StringSliceVar(&proxies, "trusted-proxy", nil, "address or network of a reverse proxy whose X-Forwarded-For is trusted (loopback always is)")
	f.BoolVar(&cfg.RequireSecure, "require-secure", false, "require an access token for the agent of every sandbox, even if an older client does not ask for one; refuse creates that opt out")
	f.StringVar(&cfg.Node.Driver, "driver", vm.AutoDriver, "sandbox driver: "+strings.Join(driverNames(), ", "))
	logs.flags(f)
	f.StringVar(&access, "access-log", "", `append a line of JSON for each request to this file, or "-" for standard output; SIGHUP reopens the file instead of ending the server (default none)`)
	f.BoolVar(&cfg.Node.NoUplink, "no-uplink", false, "give sandboxes no internet access and do not change the host's network")
	nameserverFlag(f, &nameservers)
	f.StringSliceVar(&denied, "deny-egress", nil, "address or network that no sandbox reaches, whatever its rules allow")
	command.MirrorFlag(f, &mirrors, " of container images that templates begin with, also at a private address,")
	f.StringSliceVar(&cfg.Node.PrivateRegistries, "private-registry", nil, "HOST[:PORT] of a registry of container images at a private address that clients may name")
	f.BoolVar(&cfg.Node.AcceptEmptyDatabase, "accept-empty-database", false, "start even if the database is empty or missing although snapshots exist; they become orphans")
	f.StringVar(&base, "base", node.BaseDirectory, `template base from the host's /usr as it is ("directory"), from one image of it that is made in the background and takes as much disk ("image"), or of a container image (container:NAME)`)
	f.IntVar(&cfg.Node.NetworkSlots, "network-slots", 4, "network slots to keep ready")
	f.UintVar(&cfg.Node.SandboxMbit, "sandbox-bandwidth", 1000, "internet bandwidth of one sandbox in Mbit/s, each way")
	f.UintVar(&cfg.Node.UplinkMbit, "uplink-bandwidth", 0, "total upload bandwidth of all sandboxes in Mbit/s, shared fairly; set it to 95 % of the slowest link; 0 means unlimited")
	capacityFlags(f, &cfg.Node.Capacity)
	shareFlags(f, &cfg.Node.Shares)
	cfg.Node.Supervision = runtime.DefaultSupervision()
	f.DurationVar(&cfg.Node.Supervision.Heartbeat, "heartbeat", cfg.Node.Supervision.Heartbeat, "interval of sandbox health checks; a sandbox that fails them for 5 minutes is killed; 0 disables them")
	f.DurationVar(&cfg.Node.Supervision.PageOut, "page-out-idle", cfg.Node.Supervision.PageOut, "time without traffic and work after which a sandbox's memory goes to the host's swap, if that is zram; 0 disables it")
	f.IntVar(&cfg.Node.Warm.Ready, "warm", warmpool.DefaultTarget.Ready, "warm sandboxes of template base to keep running; 0 keeps none")
	f.IntVar(&cfg.Node.Warm.Prepared, "prepared", warmpool.DefaultTarget.Prepared, "sandboxes of template base to prepare for the warm pool, not running yet")
	f.StringToIntVar(&cfg.Node.WarmTemplates, "warm-template", nil, "NAME=N warm sandboxes of a template that clients build to keep running, from the build with the tag default")
	f.DurationVar(&cfg.Node.Warm.MaxAge, "warm-max-age", warmpool.DefaultTarget.MaxAge, "age at which a warm sandbox is replaced; 0 means never")
	return cmd
}

// parseTLS says where certificates come from.
func parseTLS(mode string, t *daemon.TLS) error {
	switch mode {
	case "off", "local", "acme":
		t.Local, t.ACME = mode == "local", mode == "acme"
		return nil
	}
	return fmt.Errorf("--tls must be off, local or acme, got %q; --tls-cert and --tls-key serve a certificate from files", mode)
}

func parseAddress(text string) (netip.Addr, error) {
	if text == "" {
		return netip.Addr{}, nil
	}
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.IsUnspecified() {
		return netip.Addr{}, fmt.Errorf("--dns-address %q must be the address of this machine", text)
	}
	return addr.Unmap(), nil
}

// parseNetworks parses the addresses and networks of a flag.
func parseNetworks(flag string, texts []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			addr, addrErr := netip.ParseAddr(text)
			if addrErr != nil || addr.Zone() != "" {
				return nil, fmt.Errorf("--%s %q must be an address or a network, as in 10.0.0.7 or 10.0.0.0/24", flag, text)
			}
			p = netip.PrefixFrom(addr, addr.BitLen())
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

func stoppedBy(cause error, sig os.Signal) bool {
	var s signalled
	return errors.As(cause, &s) && s.Signal == sig
}

// driverNames are the values of --driver.
func driverNames() []string {
	names := []string{vm.AutoDriver}
	for _, d := range vm.Drivers() {
		names = append(names, d.Name)
	}
	return names
}

func nameserverFlag(f *pflag.FlagSet, texts *[]string) {
	f.StringSliceVar(texts, "nameserver", nil, "DNS server for sandboxes; may be a private address (default 8.8.8.8 and 1.1.1.1)")
}

func parseNameservers(texts []string) (out []netip.Addr, err error) {
	for _, text := range texts {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("--nameserver: %w", err)
		}
		out = append(out, addr)
	}
	return out, nil
}
