package journal

import (
	"encoding/binary"

	"github.com/google/uuid"
)

// The id of an event is a UUID of version 8 (RFC 9562, 5.8): its position in 48 bits, and a random number, so that two
// journals that have the same position, as after a restore from a backup, have another id.
const maxPosition, maxNonce = 1<<48 - 1, 1<<62 - 1

// format is the id of an event.
func format(position, nonce int64) string {
	var u uuid.UUID
	binary.BigEndian.PutUint64(u[:8], uint64(position)<<16|0x8000)
	binary.BigEndian.PutUint64(u[8:], uint64(nonce)&maxNonce|1<<63)
	return u.String()
}

// parse is what format had. The UUID of zeros has position 0.
func parse(id string) (position, nonce int64, ok bool) {
	u, err := uuid.Parse(id)
	if err != nil || len(id) != len(uuid.Nil.String()) { // It has other forms, too.
		return 0, 0, false
	}
	if u == uuid.Nil {
		return 0, 0, true
	}
	position = int64(binary.BigEndian.Uint64(u[:8]) >> 16)
	nonce = int64(binary.BigEndian.Uint64(u[8:]) & maxNonce)
	return position, nonce, format(position, nonce) == u.String()
}
