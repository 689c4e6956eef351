package live

// Flight is a resume in progress. All callers that want the sandbox wait for it.
type Flight struct {
	// Done is closed when it ended, and Err says how, to be read after that.
	Done chan struct{}
	Err  error
}

// Join returns the resume in progress. If there is none, it starts one by spawn,
// which reports whether it runs the function; nil if it does not.
func (sb *Sandbox) Join(spawn func(func()) bool, resume func() error) *Flight {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	if sb.resuming != nil {
		return sb.resuming
	}
	f := &Flight{Done: make(chan struct{})}
	if !spawn(func() {
		f.Err = resume()
		sb.resumeEnded(f.Err)
		sb.mu.Lock()
		sb.resuming = nil
		sb.mu.Unlock()
		close(f.Done)
	}) {
		return nil
	}
	sb.resuming = f
	return f
}
