package remote

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// headersOf reads the values of --header, with the secrets from where they say; nil for none.
func headersOf(list []string) (map[string]map[string]string, error) {
	var out map[string]map[string]string
	for _, entry := range list {
		host, rest, hasName := strings.Cut(entry, ":")
		name, source, hasSource := strings.Cut(rest, "=")
		if host == "" || name == "" || !hasName || !hasSource {
			return nil, fmt.Errorf("--header: %.80q is not HOST:NAME=env:VARIABLE or HOST:NAME=file:PATH", host+":"+name)
		}
		value, err := secretOf(source)
		if err != nil {
			return nil, fmt.Errorf("--header %s:%s: %w", host, name, err)
		}
		if out == nil {
			out = map[string]map[string]string{}
		}
		if out[host] == nil {
			out[host] = map[string]string{}
		}
		if _, twice := out[host][name]; twice {
			return nil, fmt.Errorf("--header: %s of %s is given twice", name, host)
		}
		out[host][name] = value
	}
	return out, nil
}

// maxSecret bounds what is read of a file; the server accepts 2048 bytes.
const maxSecret = 64 << 10

// secretOf reads a value that does not belong on a command line. No error has it, nor a source that could be one.
func secretOf(source string) (string, error) {
	kind, where, _ := strings.Cut(source, ":")
	switch kind {
	case "env":
		value, ok := os.LookupEnv(where)
		if !ok {
			return "", fmt.Errorf("the variable %s is not set", where)
		}
		return value, nil
	case "file":
		info, err := os.Stat(where)
		if err != nil {
			return "", err
		}
		if info.Size() > maxSecret {
			return "", fmt.Errorf("%s has %d bytes, and a header cannot", where, info.Size())
		}
		b, err := os.ReadFile(where)
		return strings.TrimRight(string(b), "\r\n"), err
	}
	return "", fmt.Errorf("the value comes from env:VARIABLE or file:PATH, so that it is not on the command line")
}

// namesOf are the names of headers by host, without their values; nil for none.
func namesOf(headers map[string]map[string]string) map[string][]string {
	if len(headers) == 0 {
		return nil
	}
	out := map[string][]string{}
	for host, set := range headers {
		out[host] = slices.Sorted(maps.Keys(set))
	}
	return out
}
