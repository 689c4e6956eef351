package conns

// frames follows the frames of HTTP/2 that a client sends, as far as it takes to
// know how much of a header has come that is not complete.
type frames struct {
	head  [9]byte // of the frame: length, type, flags, stream
	n     int     // bytes of head that were read
	left  int     // of the frame behind it
	block int64   // bytes of the header
}

const (
	frameHeaders      = 1
	frameContinuation = 9
	flagEndHeaders    = 4
)

// take follows the data that was read.
func (f *frames) take(b []byte) {
	for len(b) > 0 {
		if f.n < len(f.head) {
			n := copy(f.head[f.n:], b)
			f.n, b = f.n+n, b[n:]
			if f.n < len(f.head) {
				return
			}
			f.left = int(f.head[0])<<16 | int(f.head[1])<<8 | int(f.head[2])
		}
		n := min(f.left, len(b))
		f.left, b = f.left-n, b[n:]
		header := f.head[3] == frameHeaders || f.head[3] == frameContinuation
		if header {
			f.block += int64(n)
		}
		if f.left > 0 {
			return
		}
		if header && f.head[4]&flagEndHeaders != 0 {
			f.block = 0
		}
		f.n = 0
	}
}
