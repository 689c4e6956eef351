package gvisor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/internal/testspace"
	"github.com/rundlet/rundlet/vm/gvisor/sentry"
	"github.com/rundlet/rundlet/vm/vmtest"
)

// TestMain runs the tests in separate network and mount namespaces, so
// that nothing of them is ever seen by the host. The same binary is also the
// sandbox and the guest's first process.
func TestMain(m *testing.M) {
	if vmtest.Idle() {
		return
	}
	if strings.HasSuffix(os.Args[0], "/init") || os.Args[0] == "/raise" || os.Args[0] == "/usr/bin/chmod" {
		guestMain()
		return
	}
	if sentry.Started() {
		runtime.UnlockOSThread() // Locked by this package, for the driver's sake.
		sentry.Main()
	}
	if os.Geteuid() == 0 && os.Getenv(nestedEnv) == "" {
		os.Exit(testspace.Again(nestedEnv+"=1", func(pid int) string { return fmt.Sprintf("rundlet-test-%d-", pid) }))
	}
	if os.Getenv(nestedEnv) != "" {
		if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
			panic(err)
		}
	}
	code := m.Run()
	if rootImageDir != "" {
		_ = os.RemoveAll(rootImageDir)
	}
	if dir, err := rootfs(); err == nil {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

const nestedEnv = "GVISOR_TEST_NESTED"

// guestMain is the first process of test guests: a memory of keys and values
// over HTTP on the agent's port, an echo port, and a console printer.
func guestMain() {
	var mu sync.Mutex
	memory := map[string]string{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ping", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "pong") })
	mux.HandleFunc("GET /memory/{key}", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = io.WriteString(w, memory[r.PathValue("key")])
	})
	mux.HandleFunc("PUT /memory/{key}", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		memory[r.PathValue("key")] = string(body)
	})
	mux.HandleFunc("GET /file/{name}", func(w http.ResponseWriter, r *http.Request) {
		content, _ := os.ReadFile("/tmp/" + r.PathValue("name"))
		_, _ = w.Write(content)
	})
	mux.HandleFunc("PUT /file/{name}", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if err := os.WriteFile("/tmp/"+r.PathValue("name"), body, 0o600); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("GET /boot", func(w http.ResponseWriter, r *http.Request) {
		id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
		_, _ = w.Write(id)
	})
	mux.HandleFunc("POST /console", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(os.Stdout, r.Body) })
	mux.HandleFunc("POST /hold/{mib}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, holdDeleted(r.PathValue("mib")))
	})
	mux.HandleFunc("POST /dirty/{mib}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, dirty(r.PathValue("mib")))
	})
	mux.HandleFunc("GET /pace", pace)
	mux.HandleFunc("POST /count", func(w http.ResponseWriter, r *http.Request) { go count() })
	mux.HandleFunc("GET /count", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, counted()) })
	mux.HandleFunc("POST /connect/{address}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, connect(r.PathValue("address")))
	})
	mux.HandleFunc("POST /exchange", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, exchange()) })
	mux.HandleFunc("POST /short/{n}", short)
	mux.HandleFunc("POST /local/open", openLocal)
	mux.HandleFunc("POST /local/check", checkLocal)
	mux.HandleFunc("POST /namespace", inNamespace)
	mux.HandleFunc("POST /terminal/{step}", terminalStep)
	mux.HandleFunc("GET /clocks", tellClocks)
	mux.HandleFunc("POST /nap/{ms}", nap)
	mux.HandleFunc("GET /nap", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, int64(<-naps)) })
	mux.HandleFunc("POST /exit", func(w http.ResponseWriter, r *http.Request) { os.Exit(7) })
	mux.HandleFunc("POST /eat", func(w http.ResponseWriter, r *http.Request) { eat() })
	mux.HandleFunc("POST /look", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprint(w, vmtest.Look(strings.Split(string(body), "\x00")...))
	})
	mux.HandleFunc("POST /run", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		args := strings.Split(string(body), "\x00")
		cmd := exec.Command(args[0], args[1:]...)
		if r.URL.Query().Get("user") != "" {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}}
		}
		out, err := cmd.CombinedOutput()
		fmt.Fprintf(w, "%s", out)
		if err != nil {
			fmt.Fprintf(w, "error: %v\n", err)
		}
	})
	if len(os.Args) > 1 && guestCommand(os.Args[1:]) {
		return
	}
	go echoServer()
	fmt.Println("guest ready")
	fmt.Println(http.ListenAndServe(":49983", mux))
}

// guestCommand is what the binary does in a guest as another program.
func guestCommand(args []string) bool {
	switch args[0] {
	case "uid":
		fmt.Println(os.Getuid(), os.Geteuid())
	case "u+s": // As the program chmod.
		for _, path := range args[1:] {
			_ = os.Chmod(path, 0o755|os.ModeSetuid)
		}
	case "mode":
		if info, err := os.Lstat(args[1]); err == nil {
			fmt.Println(info.Mode())
		}
	case "chmod":
		fmt.Println(os.Chmod(args[1], 0o755))
	case "meminfo":
		f, _ := os.Open("/proc/meminfo")
		line, _ := bufio.NewReader(f).ReadString('\n')
		fmt.Print(line)
	case "cpus":
		data, _ := os.ReadFile("/proc/cpuinfo")
		fmt.Println(strings.Count(string(data), "processor\t:"))
	case "fill":
		fmt.Println(os.WriteFile(args[1], make([]byte, 32<<20), 0o600))
	case "write", "sum":
		fmt.Println(bigFile(args[0], args[1], args[2]))
	case "touch":
		fmt.Println(os.WriteFile(args[1], nil, 0o600))
	case "change":
		fmt.Println(changeFiles(args[1]))
	case "files":
		fmt.Println(manyFiles(args[1]))
	case "processes":
		fmt.Println(manyProcesses(args[1]))
	case "hoard":
		hoard(args[1])
	case "grab":
		grab(args[1])
	case "pipes":
		hoardPipes()
	case "large":
		fmt.Println(writeLarge())
	case "map":
		fmt.Println(mapMemory(args[1]))
	case "size":
		fmt.Println(sizeOf(args[1]))
	case "sleep":
		<-time.After(24 * time.Hour)
	case "list":
		listFiles(args[1])
	case "env":
		fmt.Println(os.Getenv(args[1]))
	case "namespace":
		namespaceProcess()
	case "like-linux":
		likeLinuxCheck(args[1])
	case "like-linux-user":
		likeLinuxUser(args[1], args[2:])
	case "like-linux-args":
		fmt.Println(len(args), os.Getuid(), os.Geteuid())
		_, _ = io.Copy(io.Discard, os.Stdin)
	case "signal":
		fmt.Println(signalFirst(args[1]))
	case "hold":
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, syscall.SIGINT, syscall.SIGQUIT) // Also if they were ignored.
		fmt.Print("x")
		os.Exit(int((<-signals).(syscall.Signal)))
	case "signal-child":
		cmd := exec.Command("/init", "sleep")
		fmt.Println(errors.Join(cmd.Start(), cmd.Process.Kill(), cmd.Wait()))
	case "hostname":
		fmt.Println(os.Hostname())
	default:
		return imageCommand(args)
	}
	return true
}

func eat() {
	var hoard [][]byte
	for {
		block := make([]byte, 16<<20)
		for i := range block {
			block[i] = byte(i)
		}
		hoard = append(hoard, block)
		if len(hoard) > 1<<10 {
			return
		}
	}
}

func echoServer() {
	l, err := net.Listen("tcp", ":7")
	if err != nil {
		fmt.Println(err)
		return
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			_, _ = io.Copy(c, c)
		}()
	}
}

// client speaks with the guest of a machine.
type client struct{ d *Driver }

func (c client) do(ctx context.Context, id, method, path, body string) (string, error) {
	h := &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dialReady(ctx, c.d, id) }}}
	req, err := http.NewRequestWithContext(ctx, method, "http://guest"+path, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	resp, err := h.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return string(text), err
}

func (c client) Write(ctx context.Context, id, key, value string) error {
	_, err := c.do(ctx, id, "PUT", "/memory/"+key, value)
	return err
}

func (c client) Read(ctx context.Context, id, key string) (string, error) {
	return c.do(ctx, id, "GET", "/memory/"+key, "")
}

// disk are files in the guest's /tmp.
type disk struct{ client }

func (c disk) Write(ctx context.Context, id, name, content string) error {
	_, err := c.do(ctx, id, "PUT", "/file/"+name, content)
	return err
}

func (c disk) Read(ctx context.Context, id, name string) (string, error) {
	return c.do(ctx, id, "GET", "/file/"+name, "")
}

func (c client) run(ctx context.Context, id, query string, args ...string) (string, error) {
	text, err := c.do(ctx, id, "POST", "/run"+query, strings.Join(args, "\x00"))
	return strings.TrimSpace(text), err
}
