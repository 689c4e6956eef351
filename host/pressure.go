package host

import (
	"fmt"
	"strconv"
	"strings"
)

// Stall is how much of the last ten seconds work stood still for want of a
// resource, in percent from 0 to 100.
type Stall struct {
	Some float64 // at least one task stood still
	Full float64 // all of them did; 0 where the kernel does not say
}

// Pressure is the stall for each resource, as the kernel averages it: the
// latest ten seconds weigh most, and it is updated every two.
type Pressure struct {
	CPU    Stall
	Memory Stall
	IO     Stall
}

// Pressure reads the machine's pressure. A kernel without pressure stall
// information gives errors.ErrUnsupported.
func (h Host) Pressure() (Pressure, error) {
	var p Pressure
	for _, part := range []struct {
		name  string
		stall *Stall
	}{{"cpu", &p.CPU}, {"memory", &p.Memory}, {"io", &p.IO}} {
		content, err := h.read("pressure/" + part.name)
		if err != nil {
			return Pressure{}, err
		}
		if *part.stall, err = parseStall(string(content)); err != nil {
			return Pressure{}, fmt.Errorf("pressure of %s: %w", part.name, err)
		}
	}
	return p, nil
}

// parseStall reads the lines of a pressure file, such as
//
//	some avg10=1.79 avg60=0.75 avg300=4.14 total=3047157735
//	full avg10=0.00 avg60=0.00 avg300=0.00 total=0
//
// Kernels before 5.13 have no line "full" for the processor.
func parseStall(content string) (Stall, error) {
	var s Stall
	seen := false
	for line := range strings.Lines(content) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		var value *float64
		switch fields[0] {
		case "some":
			value, seen = &s.Some, true
		case "full":
			value = &s.Full
		default:
			continue // A later kernel may say more.
		}
		var err error
		if *value, err = average(fields[1:]); err != nil {
			return Stall{}, fmt.Errorf("line %q: %w", fields[0], err)
		}
	}
	if !seen {
		return Stall{}, fmt.Errorf("no line %q", "some")
	}
	return s, nil
}

func average(fields []string) (float64, error) {
	for _, field := range fields {
		text, ok := strings.CutPrefix(field, "avg10=")
		if !ok {
			continue
		}
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return 0, fmt.Errorf("avg10: %w", err)
		}
		if !(v >= 0 && v <= 100) { // Written so that it is true for not-a-number too.
			return 0, fmt.Errorf("avg10=%v is not a percentage", v)
		}
		return v, nil
	}
	return 0, fmt.Errorf("no avg10")
}
