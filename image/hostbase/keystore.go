//go:build linux

package hostbase

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"unicode/utf16"
)

const (
	bundle   = "etc/ssl/certs/ca-certificates.crt"
	keystore = "etc/ssl/certs/java/cacerts"
)

// addKeystore gives Java the certificates of the bundle, where the host has a
// keystore. The host's own is not taken: keystores also hold private keys.
func (t *tree) addKeystore(hostRoot string) {
	e, ok := t.entries[bundle]
	if !ok || !exists(hostRoot, keystore) {
		return
	}
	t.file(keystore, 0o644, string(javaKeystore(parseCertificates(e.data))))
}

// javaKeystore returns a keystore in Java's own format (JKS) with the usual
// password, "changeit". It protects nothing: it is in the format.
func javaKeystore(certs [][]byte) []byte {
	var b bytes.Buffer
	u16 := func(s string) {
		b.Write(binary.BigEndian.AppendUint16(nil, uint16(len(s))))
		b.WriteString(s)
	}
	u32 := func(n int) { b.Write(binary.BigEndian.AppendUint32(nil, uint32(n))) }
	const magic, version, trustedCertificate = 0xfeedfeed, 2, 2
	u32(magic)
	u32(version)
	u32(len(certs))
	for i, cert := range certs {
		u32(trustedCertificate)
		u16(fmt.Sprintf("ca-%d", i))
		b.Write(make([]byte, 8)) // Made at the beginning of 1970: each build is the same.
		u16("X.509")
		u32(len(cert))
		b.Write(cert)
	}
	h := sha1.New()
	for _, c := range utf16.Encode([]rune("changeit")) {
		h.Write(binary.BigEndian.AppendUint16(nil, c))
	}
	h.Write([]byte("Mighty Aphrodite"))
	h.Write(b.Bytes())
	return h.Sum(b.Bytes())
}
