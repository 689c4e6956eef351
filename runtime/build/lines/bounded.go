package lines

import "bytes"

// Bounded keeps the first bytes of what is written to it, at most Most of them.
type Bounded struct {
	bytes.Buffer
	Most int
}

// Write never fails.
func (b *Bounded) Write(p []byte) (int, error) {
	if room := b.Most - b.Len(); room > 0 {
		b.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}
