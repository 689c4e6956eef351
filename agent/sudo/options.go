//go:build linux

package sudo

import (
	"fmt"
	"strings"
)

// options are a parsed command line.
type options struct {
	user     string
	preserve bool // -E
	home     bool // -H
	login    bool // -i
	shell    bool // -s
	done     bool // -k, -K, -v: nothing to run is fine
	list     bool // -l
	env      []string
	command  []string
}

// longOptions gives the letter of what has a long name.
var longOptions = map[string]byte{
	"--user": 'u', "--preserve-env": 'E', "--non-interactive": 'n', "--set-home": 'H', "--login": 'i',
	"--shell": 's', "--reset-timestamp": 'k', "--remove-timestamp": 'K', "--validate": 'v', "--list": 'l',
	"--stdin": 'S', "--askpass": 'A', "--prompt": 'p',
}

// parse reads the arguments behind "sudo". What this sudo cannot do is an
// error, never ignored.
func parse(args []string) (options, error) {
	o := options{user: "root"}
	for len(args) > 0 {
		arg := args[0]
		if arg == "--" {
			args = args[1:]
			break
		}
		if !strings.HasPrefix(arg, "-") || arg == "-" {
			if !isAssignment(arg) {
				break
			}
			o.env, args = append(o.env, arg), args[1:]
			continue
		}
		var err error
		if strings.HasPrefix(arg, "--") {
			args, err = o.long(args)
		} else {
			args, err = o.short(args)
		}
		if err != nil {
			return options{}, err
		}
	}
	for len(args) > 0 && isAssignment(args[0]) {
		o.env, args = append(o.env, args[0]), args[1:]
	}
	o.command = args
	if o.login && o.shell {
		return options{}, fmt.Errorf("you may not specify both the -i and -s options")
	}
	if len(args) == 0 && !o.login && !o.shell && !o.done && !o.list {
		return options{}, fmt.Errorf("a command is missing")
	}
	return o, nil
}

func isAssignment(arg string) bool {
	name, _, ok := strings.Cut(arg, "=")
	return ok && name != "" && !strings.Contains(name, "/")
}

func (o *options) long(args []string) ([]string, error) {
	name, value, hasValue := strings.Cut(args[0], "=")
	letter, ok := longOptions[name]
	if !ok || letter == 'E' && hasValue {
		return nil, fmt.Errorf("option %s is not supported", args[0])
	}
	args = args[1:]
	if letter == 'u' || letter == 'p' {
		if !hasValue {
			if len(args) == 0 {
				return nil, fmt.Errorf("option %s needs an argument", name)
			}
			value, args = args[0], args[1:]
		}
	} else if hasValue {
		return nil, fmt.Errorf("option %s takes no argument", name)
	}
	return args, o.set(letter, value)
}

// short reads a cluster such as -nEu root.
func (o *options) short(args []string) ([]string, error) {
	cluster := args[0][1:]
	args = args[1:]
	for i := range len(cluster) {
		letter := cluster[i]
		if letter != 'u' && letter != 'p' {
			if err := o.set(letter, ""); err != nil {
				return nil, err
			}
			continue
		}
		value := cluster[i+1:]
		if value == "" {
			if len(args) == 0 {
				return nil, fmt.Errorf("option -%c needs an argument", letter)
			}
			value, args = args[0], args[1:]
		}
		return args, o.set(letter, value)
	}
	return args, nil
}

func (o *options) set(letter byte, value string) error {
	switch letter {
	case 'u':
		o.user = value
	case 'E':
		o.preserve = true
	case 'H':
		o.home = true
	case 'i':
		o.login = true
	case 's':
		o.shell = true
	case 'l':
		o.list = true
	case 'k', 'K', 'v':
		o.done = true
	case 'n', 'S', 'A', 'p':
		// All about passwords; there is none.
	default:
		return fmt.Errorf("option -%c is not supported", letter)
	}
	return nil
}
