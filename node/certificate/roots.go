package certificate

import (
	"os"
)

// rootFiles are where systems keep the roots that they trust in one file, as in
// crypto/x509: Debian, Fedora, openSUSE, Alpine and a Mac with OpenSSL.
var rootFiles = []string{
	"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
	"/etc/ssl/cert.pem",
}

// systemRoots is the first of rootFiles, ending with a new line; nothing if there is none.
func systemRoots() []byte {
	for _, file := range rootFiles {
		if data, err := os.ReadFile(file); err == nil && len(data) > 0 {
			return append(data, '\n')
		}
	}
	return nil
}
