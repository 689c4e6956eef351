//go:build linux

package trust

import (
	"bytes"
	"crypto/sha1"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"strings"
)

// attribute is a part of a name (RFC 5280, 4.1.2.4).
type attribute struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue
}

// attributeSET is a SET of attributes: encoding/asn1 knows it by the end of the name of its type.
type attributeSET []attribute

// subjectHash is the number by which OpenSSL looks for a certificate: the first four bytes, the lowest first, of the SHA-1 of the
// canonical form of its subject. In that form (x509_name_canon in crypto/x509/x_name.c of OpenSSL) values are UTF-8 in lower
// case, without spaces at their ends and with one where there are several, and the outer SEQUENCE has no header.
func subjectHash(c *x509.Certificate) (uint32, error) {
	var name []attributeSET
	if _, err := asn1.Unmarshal(c.RawSubject, &name); err != nil {
		return 0, err
	}
	var canonical bytes.Buffer
	for _, part := range name {
		for i, a := range part {
			if text, ok := textOf(a.Value); ok {
				part[i].Value = asn1.RawValue{Class: asn1.ClassUniversal, Tag: asn1.TagUTF8String, Bytes: []byte(text)}
			}
		}
		b, err := asn1.Marshal(part)
		if err != nil {
			return 0, err
		}
		canonical.Write(b)
	}
	sum := sha1.Sum(canonical.Bytes())
	return binary.LittleEndian.Uint32(sum[:4]), nil
}

// textOf is the canonical text of a value; ok is false for one that is of another kind.
func textOf(v asn1.RawValue) (text string, ok bool) {
	switch v.Tag {
	case asn1.TagUTF8String, asn1.TagPrintableString, asn1.TagIA5String:
	default:
		return "", false
	}
	lower := []byte(strings.Join(strings.FieldsFunc(string(v.Bytes), func(r rune) bool { return r < 0x80 && isSpace(byte(r)) }), " "))
	for i, b := range lower {
		if 'A' <= b && b <= 'Z' {
			lower[i] = b + 'a' - 'A'
		}
	}
	return string(lower), true
}

func isSpace(b byte) bool { return b == ' ' || '\t' <= b && b <= '\r' }
