package acme

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
)

const (
	accountFile     = "account.pem"
	certificateFile = "certificate.pem" // The key and the chain.
)

// accountKey reads the key of the account, or makes one: authorities count by account.
func accountKey(dir string) (crypto.Signer, error) {
	file := filepath.Join(dir, accountFile)
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		block, err := privateBlock(key)
		if err != nil {
			return nil, err
		}
		return key, replaceFile(file, block)
	}
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s has no key; remove it to begin a new account", file)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; remove it to begin a new account", file, err)
	}
	key, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s has another kind of key; remove it to begin a new account", file)
	}
	return key, nil
}

// load reads the certificate of a host. Whatever is wrong with it, another can be got.
func load(dir, host string) (*tls.Certificate, error) {
	file := filepath.Join(dir, certificateFile)
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return parse(data, host)
}

// kept is when the certificate was written; the zero time if there is none.
func kept(dir string) time.Time {
	info, err := os.Stat(filepath.Join(dir, certificateFile))
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

func parse(data []byte, host string) (*tls.Certificate, error) {
	pair, err := tls.X509KeyPair(data, data)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{host, "x." + host} {
		if err := pair.Leaf.VerifyHostname(name); err != nil {
			return nil, fmt.Errorf("the certificate is not for %s", name)
		}
	}
	return &pair, nil
}

// keep checks what an authority has sent, and writes it to the file in one piece.
func keep(dir, host string, key crypto.Signer, chain [][]byte) (*tls.Certificate, error) {
	data, err := privateBlock(key)
	if err != nil {
		return nil, err
	}
	for _, der := range chain {
		data = append(data, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	pair, err := parse(data, host)
	if err != nil {
		return nil, fmt.Errorf("the authority's answer: %w", err)
	}
	return pair, replaceFile(filepath.Join(dir, certificateFile), data)
}

func privateBlock(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func replaceFile(file string, data []byte) error {
	return renameio.WriteFile(file, data, 0o600, renameio.WithTempDir(filepath.Dir(file)))
}
