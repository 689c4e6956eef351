package remote

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/cmd/rundlet/command"
	"github.com/rundlet/rundlet/policy/egress"
	"github.com/rundlet/rundlet/sandbox"
)

// proposal is a policy for what a sandbox was seen to reach, as --json prints it.
type proposal struct {
	ID string `json:"sandboxID"`
	// Learning is whether the names that the sandbox reaches are seen. If not, Begin is the command after which they are.
	Learning bool   `json:"learning"`
	Begin    string `json:"begin,omitempty"`
	// Command puts the proposal in force, and so does Network by an SDK. Both are empty if there is none.
	Command string               `json:"command,omitempty"`
	Network *proposed            `json:"network,omitempty"`
	Hosts   []client.ReachedHost `json:"hosts"`
	// Refused were refused by name, and Addresses without one. Neither is in the proposal.
	Refused   []client.Refusal `json:"refused"`
	Addresses []client.Refusal `json:"addresses"`
	Notes     []string         `json:"notes"`
}

type proposed struct {
	Allow []string `json:"allowOut"`
	Deny  []string `json:"denyOut"`
}

// learn proposes a policy. What it has of a guest is quoted, unless it is the name of a host.
func learn(id string, n client.Network, refused []client.Refusal, traffic client.Traffic) proposal {
	rules := sandbox.Egress{Allow: n.Allow, Deny: n.Deny}
	p := proposal{ID: id, Learning: egress.Learns(n.Internet, rules), Hosts: []client.ReachedHost{}, Refused: []client.Refusal{}, Addresses: []client.Refusal{}, Notes: []string{}}
	for _, r := range refused {
		if r.Name != "" {
			p.Refused = append(p.Refused, r)
		} else {
			p.Addresses = append(p.Addresses, r)
		}
	}
	byDestination := func(a, b client.Refusal) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Address, b.Address), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol))
	}
	slices.SortFunc(p.Refused, byDestination)
	slices.SortFunc(p.Addresses, byDestination)
	note := func(format string, args ...any) { p.Notes = append(p.Notes, fmt.Sprintf(format, args...)) }
	if !p.Learning {
		begin := egress.Learning(rules)
		p.Begin = setting(id, begin)
		note("the names that this sandbox reaches are not seen: its policy has no names. After the command it reaches every host by name, and addresses without a name are refused")
		return p
	}
	var names []string
	p.Hosts = append(p.Hosts, traffic.Hosts...)
	slices.SortFunc(p.Hosts, func(a, b client.ReachedHost) int { return cmp.Compare(a.Name, b.Name) })
	for _, h := range p.Hosts {
		names = append(names, h.Name)
	}
	next, left, err := egress.Propose(rules, names)
	switch {
	case len(names) == len(left):
		note("nothing to propose yet: no host was reached by name")
	case err != nil:
		note("no proposal: %v. Write rules with wildcards, such as *.example.com", err)
	default:
		p.Command, p.Network = setting(id, next), &proposed{next.Allow, next.Deny}
	}
	for _, host := range left {
		note("no rule can name %+q", host)
	}
	if !slices.Contains(n.Allow, "*") {
		note("the policy allows some names only: what the sandbox needs besides was refused")
	}
	if len(egress.Addresses(rules)) > 0 {
		note("addresses that are allowed stay in the proposal: what is reached of them is not seen")
	}
	if slices.ContainsFunc(p.Hosts, func(h client.ReachedHost) bool { return len(h.Ports) == 0 }) {
		note("of a host without a port only queries were seen: connections to other ports than 80 and 443 are not")
	}
	if len(p.Refused) > 0 {
		note("what was refused by name is not in the proposal; add --allow NAME for what the sandbox needs")
	}
	if len(p.Addresses) > 0 {
		note("what was refused without a name is not in the proposal; add --allow ADDRESS for what the sandbox needs, or have it use a name")
	}
	if traffic.ForgottenHosts > 0 {
		note("%d times a host gave way to another one: a daemon remembers 256 of a sandbox", traffic.ForgottenHosts)
	}
	if len(n.Headers) > 0 {
		note("the command keeps the headers for %s; an SDK must give their rules again", strings.Join(slices.Sorted(maps.Keys(n.Headers)), " "))
	}
	if p := n.Proxy; p != nil && p.Username == "" && !p.TLS {
		note("the command keeps the proxy; an SDK must give it again")
	} else if p != nil {
		note("the proxy is not shown as a whole: give --proxy and its flags with the command, and the proxy to an SDK")
	}
	note("what is seen is kept since the sandbox was created or resumed last, or the daemon was started; what it needs another time is not in it")
	return p
}

// setting is the command that puts rules in force.
func setting(id string, rules sandbox.Egress) string {
	words := []string{"rundlet", "sandbox", "network", id}
	for _, entry := range rules.Deny {
		words = append(words, "--deny", entry)
	}
	for _, entry := range rules.Allow {
		words = append(words, "--allow", entry)
	}
	for i, word := range words {
		words[i] = command.Quote(word)
	}
	return strings.Join(words, " ")
}

// shown is text that a guest may have chosen, for a terminal.
func shown(text string) string {
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
		return strconv.QuoteToASCII(text)
	}
	return text
}

func printProposal(cmd *cobra.Command, o *command.Options, p proposal) error {
	if o.JSON {
		return command.PrintJSON(cmd.OutOrStdout(), p)
	}
	var text strings.Builder
	if line := cmp.Or(p.Command, p.Begin); line != "" {
		fmt.Fprintln(&text, line)
	}
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	if len(p.Hosts) > 0 {
		fmt.Fprintln(w, "\nREACHED\tPORTS\tCONNECTIONS\tQUERIES\tLAST")
	}
	for _, h := range p.Hosts {
		ports := "-"
		if len(h.Ports) > 0 {
			ports = strings.Trim(fmt.Sprint(h.Ports), "[]")
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\n", shown(h.Name), ports, h.Connections, h.Queries, h.LastAt.Local().Format(time.DateTime))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := printRefused(&text, append(slices.Clone(p.Refused), p.Addresses...)); err != nil {
		return err
	}
	if text.Len() > 0 {
		text.WriteString("\n")
	}
	for _, line := range p.Notes {
		fmt.Fprintf(&text, "Note: %s.\n", line)
	}
	_, err := fmt.Fprint(cmd.OutOrStdout(), text.String())
	return err
}
