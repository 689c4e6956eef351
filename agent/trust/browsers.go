//go:build linux

package trust

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"slices"
)

// browsers are the directories of the managed policies of Chromium and Chrome, each with what shows that the browser may come to
// be there. They read no store of the system.
var browsers = map[string][]string{
	"/etc/chromium/policies/managed":   {"/etc/chromium", "/usr/bin/chromium", "/usr/bin/chromium-browser"},
	"/etc/opt/chrome/policies/managed": {"/etc/opt/chrome", "/opt/google/chrome"},
}

// addToBrowsers makes Chromium and Chrome trust certificates, by a policy that they know from version 128 on.
func addToBrowsers(root string, list []*x509.Certificate) (err error) {
	policy := map[string][]string{}
	for _, c := range list {
		policy["CACertificates"] = append(policy["CACertificates"], base64.StdEncoding.EncodeToString(c.Raw))
	}
	text, err := json.Marshal(policy)
	if err != nil {
		return err
	}
	for dir, signs := range browsers {
		if slices.ContainsFunc(signs, func(name string) bool { _, err := os.Stat(root + name); return err == nil }) {
			err = errors.Join(err, replace(root+dir+"/rundlet-egress.json", append(text, '\n'), 0o644))
		}
	}
	return err
}
