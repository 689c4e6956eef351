package main

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/smallstep/truststore"
	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/cmd/rundlet/command"
	"github.com/rundlet/rundlet/node/certificate"
	"github.com/rundlet/rundlet/node/daemon"
	"github.com/rundlet/rundlet/node/statedir"
)

func newTLS(o *command.Options) *cobra.Command {
	cmd := &cobra.Command{Use: "tls", Short: "Show and trust the certificate authority of \"rundlet serve --tls local\""}
	var domain string
	cmd.PersistentFlags().StringVar(&domain, "domain", "", "domain of the authority (default that of the last daemon)")
	cmd.AddCommand(newTLSShow(o, &domain), newTLSTrust(o, &domain))
	return cmd
}

// authority is that of a domain, or of the domain that was served last.
func authority(o *command.Options, domain string) (*certificate.Authority, string, error) {
	dirs, err := o.Layout()
	if err != nil {
		return nil, "", err
	}
	if domain == "" {
		if domain = statedir.ReadEndpoint(dirs).Domain; domain == "" {
			domain = daemon.DefaultDomain
		}
	}
	host, _ := certificate.SplitDomain(domain)
	if err := certificate.CheckHost(host); err != nil {
		return nil, "", err
	}
	a, err := certificate.ReadAuthority(dirs.Certificates(host), host)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("no authority for %s yet: start \"rundlet serve --tls local --domain %s\" once", host, domain)
	}
	return a, host, err
}

func newTLSShow(o *command.Options, domain *string) *cobra.Command {
	return &cobra.Command{
		Use: "show", Short: "Show the authority: its files, fingerprint and end", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, host, err := authority(o, *domain)
			if err != nil {
				return err
			}
			ends := a.Certificate().NotAfter
			if o.JSON {
				return command.PrintJSON(cmd.OutOrStdout(), map[string]any{
					"domain": host, "certificate": a.Root, "bundle": a.Bundle, "sha256": a.Fingerprint(), "ends": ends})
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "domain       %s\ncertificate  %s\nbundle       %s\nsha256       %s\nends         %s\n",
				host, a.Root, a.Bundle, a.Fingerprint(), ends.Local().Format(time.DateOnly))
			return err
		},
	}
}

func newTLSTrust(o *command.Options, domain *string) *cobra.Command {
	var remove bool
	cmd := &cobra.Command{
		Use: "trust", Short: "Make this machine trust the authority", Args: cobra.NoArgs,
		Long: `Make this machine trust the authority of "rundlet serve --tls local": programs that use
the system's certificates, and browsers whose store certutil can change. The
authority can sign for its domain only. Programs that read other files need the
variables of "rundlet env".`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, host, err := authority(o, *domain)
			if err != nil {
				return err
			}
			change, done := truststore.Install, "trusts"
			if remove {
				change, done = truststore.Uninstall, "no longer trusts"
			}
			if err := change(a.Certificate(), browsers()...); err != nil {
				return explain(err)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "this machine %s the authority of %s\n", done, host)
			return err
		},
	}
	cmd.Flags().BoolVar(&remove, "remove", false, "end the trust")
	return cmd
}

// browsers are the stores of browsers, if there is a program that can change them.
func browsers() []truststore.Option {
	nss, err := truststore.NewNSSTrust()
	if err != nil {
		return nil
	}
	return []truststore.Option{truststore.WithTrust(nss)}
}

// explain adds what a command printed.
func explain(err error) error {
	var failed *truststore.CmdError
	if errors.As(err, &failed) {
		return fmt.Errorf("%w: %.300s", err, failed.Out())
	}
	return err
}
