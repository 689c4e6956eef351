package crashdisk

import (
	"fmt"
	"math/rand/v2"
)

// View is the disk as it may be found after a power cut. It can be written to,
// and what is written to it is in no other view.
type View struct {
	log     *Log
	written map[int64]int64
	gone    bool // there is a newer view; guarded by log.mu
}

// View returns the disk after a power cut behind the first position entries.
// All that was written before the last flush is there. Of what was written since,
// seed 0 keeps all, and any other seed a random part of the blocks, none and all
// included. Views have to be asked for in the order of their positions; a new one
// ends the one before.
func (l *Log) View(position int, seed uint64) (*View, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if position < 0 || position > len(l.entries) {
		return nil, fmt.Errorf("cut at %d: there are %d entries", position, len(l.entries))
	}
	flushed := position
	for flushed > 0 && !l.entries[flushed-1].flush {
		flushed--
	}
	if flushed < l.upto {
		return nil, fmt.Errorf("cut at %d: a later one was replayed already", position)
	}
	if l.frozen == 0 {
		l.frozen = max(l.end, 1)
	}
	if l.viewing != nil {
		l.viewing.gone = true
	}
	for _, e := range l.entries[l.upto:flushed] {
		e.apply(l.stable)
	}
	l.upto = flushed
	l.end = l.frozen // What was written to the last view is not needed any more.

	v := &View{log: l, written: map[int64]int64{}}
	rng := rand.New(rand.NewPCG(seed, uint64(position)))
	keep := float64(rng.IntN(5)) / 4
	for _, e := range l.entries[flushed:position] {
		if seed == 0 {
			e.apply(v.written)
			continue
		}
		for i := range e.count {
			if rng.Float64() < keep {
				v.written[e.block+i] = e.data + i*blockSize
			}
		}
	}
	l.viewing = v
	return v, nil
}

// ReadAt reads what is there.
func (v *View) ReadAt(p []byte, off int64) (int, error) {
	v.log.mu.Lock()
	defer v.log.mu.Unlock()
	if v.gone {
		return 0, errFrozen
	}
	return v.log.read(p, off, v.written, v.log.stable)
}

// WriteAt changes this view alone.
func (v *View) WriteAt(p []byte, off int64) (int, error) {
	v.log.mu.Lock()
	defer v.log.mu.Unlock()
	if v.gone {
		return 0, errFrozen
	}
	if _, err := v.log.append(p, off, v.written, v.log.stable); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Flush does nothing: a view is not cut again.
func (v *View) Flush() error { return nil }
