package runtime

// flight is a resume in progress. All callers that want the sandbox wait for it.
type flight struct {
	// done is closed when it ended, and err is how, to be read after that.
	done chan struct{}
	err  error
}

// join returns the resume in progress. If there is none, it starts one by spawn,
// which reports whether it runs the function; nil if it does not.
func (sb *handle) join(spawn func(func()) bool, resume func() error) *flight {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	if sb.resuming != nil {
		return sb.resuming
	}
	f := &flight{done: make(chan struct{})}
	if !spawn(func() {
		f.err = resume()
		sb.resumeEnded(f.err)
		sb.mu.Lock()
		sb.resuming = nil
		sb.mu.Unlock()
		close(f.done)
	}) {
		return nil
	}
	sb.resuming = f
	return f
}
