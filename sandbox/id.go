package sandbox

import "crypto/rand"

// NewID returns a sandbox id: "i" and 20 random characters of [a-z0-9] (103
// bits).
func NewID() string {
	const alphabet = "abcdefghijklmnopqrstuvwxyz0123456789"
	id := make([]byte, 0, 21)
	id = append(id, 'i')
	var buf [32]byte
	for len(id) < 21 {
		rand.Read(buf[:])
		for _, b := range buf {
			// 252 is the largest multiple of 36 in a byte: no character is likelier
			// than another.
			if b < 252 && len(id) < 21 {
				id = append(id, alphabet[b%36])
			}
		}
	}
	return string(id)
}
