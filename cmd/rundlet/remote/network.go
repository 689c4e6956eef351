package remote

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/cmd/rundlet/command"
)

// network is what a sandbox may reach, as --json prints it.
type network struct {
	ID       string   `json:"sandboxID"`
	Internet bool     `json:"allowInternetAccess"`
	Allow    []string `json:"allowOut"`
	Deny     []string `json:"denyOut"`
	// Headers are the names of those that are set in requests, by host.
	Headers map[string][]string `json:"headers,omitempty"`
	Proxy   *proxyShown         `json:"proxy,omitempty"`
	// Refused is what it was refused lately.
	Refused []client.Refusal `json:"refused"`
	// Traffic are its counters.
	Traffic client.Traffic `json:"traffic"`
}

// proxyShown is what --json prints of a proxy.
type proxyShown struct {
	Address  string `json:"address"`
	Username string `json:"username,omitempty"`
	TLS      bool   `json:"tls,omitempty"`
}

func newSandboxNetwork(o *command.Options) *cobra.Command {
	var rules client.Network
	var noInternet, open, noHeaders, propose bool
	var set []string
	var proxy proxyFlags
	cmd := &cobra.Command{
		Use: "network ID", Short: "Show or change what a sandbox may reach", Args: cobra.ExactArgs(1),
		Long: `Show what a sandbox may reach, or replace it while the sandbox runs.

--allow and --deny take addresses and CIDR blocks, and can be given several times.
What is allowed wins over what is denied. With --no-internet, --allow also takes host
names, where a "*." before one stands for all names below it, and bundles of the names
that a service needs ("rundlet sandbox network bundles" lists them):

  rundlet sandbox network ID --no-internet --allow 203.0.113.7   # that address, and nothing else
  rundlet sandbox network ID --no-internet --allow example.com --allow "*.example.org"
  rundlet sandbox network ID --no-internet --allow bundle:pypi --allow bundle:github
  rundlet sandbox network ID --deny 203.0.113.0/24               # everything else
  rundlet sandbox network ID --deny 0.0.0.0/0:25                 # everything but mail
  rundlet sandbox network ID --open                              # everything

--header sets a header in the requests that the sandbox sends to a host over HTTP or HTTPS.
Its value comes from a variable or a file, and the sandbox does not see it:

  rundlet sandbox network ID --header api.example.com:Authorization=env:API_AUTHORIZATION
  rundlet sandbox network ID --header "*.example.com:X-Api-Key=file:key.txt"

Without --header the headers stay when the rest is replaced, and with nothing but --header
the rest stays. --no-headers removes them, and so does --open.

--proxy sends all connections of TCP through a SOCKS5 proxy, which the sandbox does not
see. What it reaches is the same. UDP does not go through it:

  rundlet sandbox network ID --proxy proxy.example.com:1080
  rundlet sandbox network ID --proxy proxy.example.com:1080 --proxy-login env:PROXY_LOGIN --proxy-tls
  rundlet sandbox network ID --no-proxy

Connections that are not allowed any more are cut; the others go on. Private
addresses are never reached. Destinations that were refused since the sandbox was
created or resumed are listed, at most 64, after counters of what it sent and received.

--learn prints the command for a policy of the hosts that the sandbox reached by name, and
changes nothing. They are seen if the policy has names. To begin with all:

  rundlet sandbox network ID --deny 0.0.0.0/0 --allow "*"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			reach := noInternet || len(rules.Allow)+len(rules.Deny) > 0
			changed := reach || noHeaders || len(set) > 0 || proxy.changes()
			switch {
			case propose && (open || changed):
				return errors.New("--learn changes nothing, so it cannot be given with others")
			case open && changed:
				return errors.New("--open removes all rules, so it cannot be given with others")
			case noHeaders && len(set) > 0:
				return errors.New("--no-headers cannot be given with --header")
			}
			var err error
			if rules.Headers, err = headersOf(set); err != nil {
				return err
			}
			api, err := o.API()
			if err != nil {
				return err
			}
			if noInternet {
				rules.Internet = new(false)
			}
			if changed { // What is not named stays.
				now, err := api.Network(cmd.Context(), args[0])
				if err != nil {
					return fmt.Errorf("network of %s: %w", args[0], command.Unreachable(api, err))
				}
				if !noHeaders && len(set) == 0 {
					rules.Headers = now.Headers
				}
				if rules.Proxy, err = proxy.of(now.Proxy); err != nil {
					return err
				}
				if !reach {
					now.Headers, now.Proxy = rules.Headers, rules.Proxy
					rules = now
				}
			}
			if open || changed {
				if err := api.SetNetwork(cmd.Context(), args[0], rules); err != nil {
					return fmt.Errorf("set the network of %s: %w", args[0], command.Unreachable(api, err))
				}
			}
			n, err := api.Network(cmd.Context(), args[0])
			if err != nil {
				return fmt.Errorf("network of %s: %w", args[0], command.Unreachable(api, err))
			}
			refused, err := api.Refused(cmd.Context(), args[0])
			if err != nil {
				return fmt.Errorf("network of %s: %w", args[0], command.Unreachable(api, err))
			}
			traffic, err := api.Traffic(cmd.Context(), args[0])
			if answer, ok := errors.AsType[*client.Error](err); ok && answer.Code == http.StatusNotFound && !propose {
				err = nil // A daemon of an earlier release, which has just answered about the sandbox, does not count.
			}
			if err != nil {
				return fmt.Errorf("network of %s: %w", args[0], command.Unreachable(api, err))
			}
			if propose {
				return printProposal(cmd, o, learn(args[0], n, refused, traffic))
			}
			return printNetwork(cmd, o, args[0], n, refused, traffic)
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&rules.Allow, "allow", nil, "address, CIDR block, host name or bundle to allow; all but bundles may have a port, as in 203.0.113.7:443")
	f.StringArrayVar(&rules.Deny, "deny", nil, "address or CIDR block to deny, with a port if it is for one, as in 0.0.0.0/0:25")
	f.BoolVar(&noInternet, "no-internet", false, "deny everything that is not allowed")
	f.BoolVar(&open, "open", false, "remove all rules")
	f.StringArrayVar(&set, "header", nil, "header to set, as HOST:NAME=env:VARIABLE or HOST:NAME=file:PATH")
	f.BoolVar(&noHeaders, "no-headers", false, "set no headers")
	proxy.add(f)
	f.BoolVar(&propose, "learn", false, "propose a policy of the hosts that the sandbox reached by name")
	cmd.AddCommand(newSandboxBundles(o)) // No sandbox has an id like that.
	return cmd
}

func printNetwork(cmd *cobra.Command, o *command.Options, id string, n client.Network, refused []client.Refusal, traffic client.Traffic) error {
	internet := n.Internet == nil || *n.Internet
	if o.JSON {
		out := network{
			ID: id, Internet: internet, Allow: append([]string{}, n.Allow...), Deny: append([]string{}, n.Deny...),
			Headers: namesOf(n.Headers), Refused: append([]client.Refusal{}, refused...), Traffic: traffic,
		}
		if p := n.Proxy; p != nil {
			out.Proxy = &proxyShown{p.Address, p.Username, p.TLS}
		}
		return command.PrintJSON(cmd.OutOrStdout(), out)
	}
	text := ""
	if len(n.Allow) > 0 {
		text += "allowed: " + strings.Join(n.Allow, " ") + "\n"
	}
	switch {
	case !internet || slices.Contains(n.Deny, "0.0.0.0/0"):
		text += "denied:  everything else\n"
	case len(n.Deny) > 0:
		text += "denied:  " + strings.Join(n.Deny, " ") + "\nallowed: everything else but private addresses\n"
	default:
		text = "allowed: everything but private addresses\n" // What is allowed besides limits nothing.
	}
	if n.Proxy != nil {
		text += "proxy:   " + proxyText(n.Proxy) + "\n"
	}
	names := namesOf(n.Headers)
	for _, host := range slices.Sorted(maps.Keys(names)) {
		text += "headers: " + strings.Join(names[host], " ") + " for " + host + "\n"
	}
	text += counters(traffic)
	if _, err := fmt.Fprint(cmd.OutOrStdout(), text); err != nil {
		return err
	}
	return printRefused(cmd.OutOrStdout(), refused)
}

// printRefused prints a table of what was refused, if there is something.
func printRefused(out io.Writer, refused []client.Refusal) error {
	if len(refused) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\nREFUSED\tPROTOCOL\tAT LEAST\tLAST")
	for _, r := range refused {
		to := r.Address
		if r.Port != 0 {
			to = net.JoinHostPort(to, strconv.Itoa(r.Port))
		}
		if r.Name != "" {
			to = strings.TrimSpace(r.Name + " " + to)
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\n", shown(to), shown(r.Protocol), r.Count, r.LastAt.Local().Format(time.DateTime))
	}
	return w.Flush()
}

// counters are those of a sandbox as text, without what is 0.
func counters(t client.Traffic) (text string) {
	if t.PacketsOut+t.PacketsIn > 0 {
		text += fmt.Sprintf("traffic: %d bytes in %d packets out, %d bytes in %d packets in\n", t.BytesOut, t.PacketsOut, t.BytesIn, t.PacketsIn)
	}
	if t.Connections+t.RefusedConnections+t.RefusedQueries > 0 {
		text += fmt.Sprintf("by name: %d connections opened, %d refused, %d queries refused\n", t.Connections, t.RefusedConnections, t.RefusedQueries)
	}
	if t.RefusedPackets > 0 {
		text += fmt.Sprintf("refused: at least %d packets\n", t.RefusedPackets)
	}
	return text
}
