package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/rundlet/rundlet/node"
	"github.com/rundlet/rundlet/node/daemon"
	"github.com/rundlet/rundlet/policy/warmpool"
	"github.com/rundlet/rundlet/runtime"
	"github.com/rundlet/rundlet/vm"
)

const defaultListen = daemon.DefaultListen

func newServe(o *options) *cobra.Command {
	var logs logOptions
	var cfg daemon.Config
	var proxies, nameservers []string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the E2B API and the sandboxes' data plane",
		Long: `Serve the E2B API and the data plane on one port.

Ctrl-C ends the sandboxes that run; those that are paused, and snapshots, stay.
SIGTERM, which a service manager sends for a restart, and every failure leave
all of them for the next "rundlet serve".`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, end, err := logs.open(cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			defer end()
			if cfg.TrustedProxies, err = parseProxies(proxies); err != nil {
				return err
			}
			if cfg.Node.Nameservers, err = parseNameservers(nameservers); err != nil {
				return err
			}
			if cfg.Node.Dirs, err = o.layout(); err != nil {
				return err
			}
			cfg.Version, cfg.Node.Log = version, log
			cfg.Node.Progress = func(line string) { log.Info(line) }
			cfg.Ending = func(cause error) node.Ending {
				if stoppedBy(cause, os.Interrupt) {
					return node.EndRunning
				}
				return node.LeaveAll
			}
			cfg.Ready = func(url string) {
				fmt.Fprintf(cmd.OutOrStdout(), "rundlet listening on %s\n", url)
				fmt.Fprintf(cmd.OutOrStdout(), "in another shell: eval \"$(%s env)\"\n", os.Args[0])
			}
			return daemon.Serve(cmd.Context(), cfg)
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Listen, "listen", defaultListen, "address of the API and the data plane")
	f.StringVar(&cfg.MetricsListen, "metrics-listen", "", "loopback address to serve /metrics without a key (default none; the API serves it with one)")
	f.StringVar(&cfg.Domain, "domain", "", "domain whose sub-domains PORT-SANDBOX.DOMAIN lead to sandboxes")
	f.StringSliceVar(&proxies, "trusted-proxy", nil, "address or network of a reverse proxy whose X-Forwarded-For names the client (loopback always is)")
	f.BoolVar(&cfg.RequireSecure, "require-secure", false, "give every sandbox an access token for its agent, also where the create of an older client does not ask for one; a create that asks for none is refused")
	f.StringVar(&cfg.Node.Driver, "driver", vm.AutoDriver, "what runs sandboxes: "+strings.Join(driverNames(), ", "))
	logs.flags(f)
	f.BoolVar(&cfg.Node.NoUplink, "no-uplink", false, "give no sandbox a way to the internet and leave the host's network alone")
	nameserverFlag(f, &nameservers)
	f.BoolVar(&cfg.Node.AcceptEmptyDatabase, "accept-empty-database", false, "start although the database is empty or missing and there are saved snapshots; they are set aside")
	f.IntVar(&cfg.Node.NetworkSlots, "network-slots", 4, "network slots kept ready")
	f.UintVar(&cfg.Node.SandboxMbit, "sandbox-bandwidth", 1000, "Mbit/s that one sandbox may send to the internet, and receive from there")
	f.UintVar(&cfg.Node.UplinkMbit, "uplink-bandwidth", 0, "Mbit/s that all sandboxes may send to the internet: 95 % of the slowest link on the way, then they share it evenly; 0 for no bound")
	capacityFlags(f, &cfg.Node.Capacity)
	shareFlags(f, &cfg.Node.Shares)
	cfg.Node.Supervision = runtime.DefaultSupervision()
	f.DurationVar(&cfg.Node.Supervision.Heartbeat, "heartbeat", cfg.Node.Supervision.Heartbeat, "how often a sandbox is asked for a sign of life; one that gives none for 5 minutes is ended; 0 for never")
	f.IntVar(&cfg.Node.Warm.Ready, "warm", warmpool.DefaultTarget.Ready, "sandboxes of the base kept running ahead of need; 0 for none")
	f.IntVar(&cfg.Node.Warm.Prepared, "prepared", warmpool.DefaultTarget.Prepared, "sandboxes of the base kept ready to be started, behind the warm ones")
	f.DurationVar(&cfg.Node.Warm.MaxAge, "warm-max-age", warmpool.DefaultTarget.MaxAge, "age at which a warm sandbox is replaced; 0 for never")
	return cmd
}

// parseProxies reads addresses and networks.
func parseProxies(texts []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			addr, addrErr := netip.ParseAddr(text)
			if addrErr != nil || addr.Zone() != "" {
				return nil, fmt.Errorf("trusted proxy %q must be an address or a network, as in 10.0.0.7 or 10.0.0.0/24", text)
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
	f.StringSliceVar(texts, "nameserver", nil, "address of a name server for sandboxes, also a private one (default 8.8.8.8 and 1.1.1.1)")
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
