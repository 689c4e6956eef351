package rotate

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/rundlet/rundlet/policy/hygiene"
)

// rotate moves the file away and begins a new one. When it fails w.f is still
// open for the lines to come, whatever its name is by then. It must be called
// with w.mu held.
func (w *File) rotate() error {
	// A compression reads and removes what is about to be renamed.
	w.compressing.Wait()
	compression, emptied, err := w.moveAway()
	if err != nil {
		return fmt.Errorf("rotate %s: %w", w.path, err)
	}
	if emptied {
		w.begin(w.f, 0)
		return nil
	}
	f, size, err := w.openCurrent()
	if err != nil {
		return fmt.Errorf("rotate %s: %w", w.path, err)
	}
	if err := w.f.Close(); err != nil {
		w.fail(fmt.Errorf("rotate %s: %w", w.path, err))
	}
	w.begin(f, size)
	if compression.Op == hygiene.Compress {
		w.compressing.Go(func() {
			if err := compress(compression.From, compression.To); err != nil {
				w.fail(fmt.Errorf("compress %s: %w", compression.From, err))
			}
		})
	}
	return nil
}

// moveAway executes the plan for the file, except for the compression, which
// it returns. Where no generation is kept the file is emptied instead. Where
// there is no file at the path an earlier rotation was cut short, and there is
// nothing to move.
func (w *File) moveAway() (compression hygiene.Step, emptied bool, err error) {
	dir, name := filepath.Split(w.path)
	if _, err := os.Lstat(w.path); errors.Is(err, fs.ErrNotExist) {
		return compression, false, nil
	}
	entries, err := os.ReadDir(filepath.Clean(dir))
	if err != nil {
		return compression, false, err
	}
	var files []hygiene.LogFile
	for _, e := range entries {
		files = append(files, hygiene.LogFile{Name: e.Name()})
		if e.Name() == name {
			// It is due, also if it is shorter: the next line does not fit.
			files[len(files)-1].Bytes = w.opts.Rotation.MaxBytes + 1
		}
	}
	for _, step := range w.opts.Rotation.Plan(files) {
		step.From = filepath.Join(dir, step.From)
		if step.To != "" {
			step.To = filepath.Join(dir, step.To)
		}
		switch {
		case step.Op == hygiene.Remove && step.From == w.path:
			// If it were removed and no new one could be opened, the lines to
			// come would go to a file that has no name.
			err = w.f.Truncate(0)
			emptied = true
		case step.Op == hygiene.Remove:
			err = os.Remove(step.From)
		case step.Op == hygiene.Rename:
			err = os.Rename(step.From, step.To)
		case step.Op == hygiene.Compress:
			compression = step
		}
		if err != nil {
			return compression, false, err
		}
	}
	return compression, emptied, nil
}

// compress writes from as gzip to to and removes from. Until to is complete and
// durable it has a temporary name, and from stays.
func compress(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	temporary := hygiene.Temporary(to)
	out, err := os.OpenFile(temporary, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temporary)
		}
	}()
	z := gzip.NewWriter(out)
	_, err = io.Copy(z, in)
	if err := errors.Join(err, z.Close(), out.Sync(), out.Close()); err != nil {
		return err
	}
	if err := os.Rename(temporary, to); err != nil {
		return err
	}
	if err := syncDir(filepath.Dir(to)); err != nil {
		return err
	}
	return os.Remove(from)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
