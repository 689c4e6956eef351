//go:build linux

package gvisor

// failpoints are where tests see and break operations. The fields are set before the
// first call; nil ones do nothing.
type failpoints struct {
	// step is Config.Failpoint: it sees how far an operation has come.
	step func(step, id string)
	// halfWay is called in the middle of each lifecycle step; an error fails the
	// step there.
	halfWay func(op, id string) error
}

// reached shows that an operation has come to one of Steps.
func (f *failpoints) reached(step, id string) {
	if f.step != nil {
		f.step(step, id)
	}
}

// inject returns the error of a test for an operation that is half done.
func (f *failpoints) inject(op, id string) error {
	if f.halfWay == nil {
		return nil
	}
	return f.halfWay(op, id)
}
