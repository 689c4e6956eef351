package main

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/envd"
)

const (
	parentBootID = "5f3c1d0e-0000-4000-8000-000000000000"
	childBootID  = "5f3c1d0e-0000-4000-8000-00000000000%d"
)

// differ asks each box the same and fails if two answers are equal or one is
// empty.
func differ(t *testing.T, what, script string, boxes ...*box) {
	t.Helper()
	seen := map[string]string{}
	for _, b := range boxes {
		got := b.sh(script)
		if other, ok := seen[got]; ok || got == "" {
			t.Errorf("%s of %s is %q, as of %s", what, b.id, got, other)
		}
		seen[got] = b.id
	}
}

func TestForksHaveAnIdentityOfTheirOwn(t *testing.T) {
	parent := newNode(t).boot()
	parent.init(func(req *envd.InitRequest) { req.BootID = parentBootID })
	// A process that lives through the snapshot sees what its copy is, too.
	parent.sh("mkfifo /tmp/ask; (while read -r _ < /tmp/ask; do cat /proc/sys/kernel/random/boot_id /etc/machine-id > /tmp/answer; done) > /dev/null 2>&1 &")
	n := 0
	children := parent.fork(2, func(req *envd.InitRequest) { n++; req.BootID = fmt.Sprintf(childBootID, n) })
	all := append(children, parent)

	differ(t, "host name", "hostname", all...)
	differ(t, "/etc/hostname", "cat /etc/hostname", all...)
	differ(t, "own line of /etc/hosts", "grep 127.0.1.1 /etc/hosts", all...)
	differ(t, "machine id", "cat /etc/machine-id", all...)
	differ(t, "boot id", "cat /proc/sys/kernel/random/boot_id", all...)
	differ(t, "MAC address", `python3 -c 'import fcntl, socket; print(fcntl.ioctl(socket.socket(), 0x8927, b"eth0" + bytes(36))[18:24])'`, all...)
	differ(t, "sandbox id", "echo $E2B_SANDBOX_ID", all...)
	for i, b := range children {
		want := fmt.Sprintf(childBootID, i+1) + "\n" + b.sh("cat /etc/machine-id")
		if got := b.sh("echo > /tmp/ask; until [ -s /tmp/answer ]; do sleep 0.01; done; sleep 0.1; cat /tmp/answer"); got != want {
			t.Errorf("a process from before the fork sees %q, want %q", got, want)
		}
		if got := b.sh(`python3 -c 'import socket; s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(("` + outsideIP + `", 9)); print(s.getsockname()[0])'`); got != b.ip {
			t.Errorf("%s speaks as %s, its address is %s", b.id, got, b.ip)
		}
	}
	if got := parent.sh("cat /proc/sys/kernel/random/boot_id; hostname"); got != parentBootID+"\n"+parent.id {
		t.Errorf("the parent became %q", got)
	}
	// The mount of the first life is used again, and made again where a program
	// cleared /run.
	children[1].sh("rm -rf /run/*")
	if got := children[1].fork(1, func(req *envd.InitRequest) { req.BootID = fmt.Sprintf(childBootID, 8) })[0].sh("cat /proc/sys/kernel/random/boot_id"); got != fmt.Sprintf(childBootID, 8) {
		t.Errorf("boot id after /run was cleared: %q", got)
	}
	grandchild := children[0].fork(1, func(req *envd.InitRequest) { req.BootID = fmt.Sprintf(childBootID, 9) })[0]
	if got := grandchild.sh("cat /proc/sys/kernel/random/boot_id; grep -c boot_id /proc/self/mounts"); got != fmt.Sprintf(childBootID, 9)+"\n1" {
		t.Errorf("boot id and its mounts: %q", got)
	}
}

func TestForksWriteToFileSystemsOfTheirOwn(t *testing.T) {
	parent := newNode(t).boot()
	parent.init()
	parent.sh("echo before > /home/user/f; echo before > /usr/f; echo before > /dev/shm/f")
	children := parent.fork(2)
	for _, b := range append(children, parent) {
		if got := b.sh("cat /home/user/f /usr/f /dev/shm/f"); got != "before\nbefore\nbefore" {
			t.Errorf("%s finds %q", b.id, got)
		}
		b.sh("for f in /home/user/f /usr/f /dev/shm/f; do echo " + b.id + " > $f; done")
	}
	for _, b := range append(children, parent) {
		if got := b.sh("cat /home/user/f /usr/f /dev/shm/f"); got != b.id+"\n"+b.id+"\n"+b.id {
			t.Errorf("%s finds %q after all wrote", b.id, got)
		}
	}
}

func TestEachForkIsChargedForItsOwnMemory(t *testing.T) {
	parent := newNode(t).boot()
	parent.init()
	parent.background("python3", "hoard.py")
	for _, b := range append(parent.fork(2), parent) {
		stats, err := b.driver.Stats(t.Context(), b.id)
		if err != nil {
			t.Fatal(err)
		}
		if stats.MemoryLimitBytes == 0 {
			t.Skip("this host has no control groups")
		}
		if stats.MemoryBytes < 100<<20 || stats.MemoryBytes > 300<<20 {
			t.Errorf("%s is charged %d MiB", b.id, stats.MemoryBytes>>20)
		}
	}
}

func TestClockAfterARestore(t *testing.T) {
	parent := newNode(t).boot()
	parent.init()
	start := time.Now()
	parent.background("python3", "sleeper.py")
	const down = 5 * time.Second
	parent.snapshot("s")
	stopped := time.Now()
	<-time.After(down)
	gap := time.Since(stopped)
	child := parent.restore(parent, "s")
	begin := time.Now()
	child.init(restored(parent), func(req *envd.InitRequest) { req.Timestamp = time.Time{} })
	var guest float64
	if _, err := fmt.Sscan(child.sh("date +%s.%N"), &guest); err != nil {
		t.Fatal(err)
	}
	if off := guest - float64(begin.UnixNano())/1e9; off < -0.05 || off > time.Since(begin).Seconds()+0.05 {
		t.Errorf("the wall clock of the restored guest is %.3f s off, without anybody setting it", off)
	}
	// The wall clock counted the time in which the guest did not run, the
	// monotonic one and the timer did not.
	var wall, mono float64
	if _, err := fmt.Sscan(child.sh("until [ -s /tmp/slept ]; do sleep 0.02; done; cat /tmp/slept"), &wall, &mono); err != nil {
		t.Fatal(err)
	}
	if most := (time.Since(start) - gap).Seconds() + 0.1; mono < 3 || mono > most {
		t.Errorf("a sleep of 3 s took %.2f s by the monotonic clock, and the guest ran for at most %.2f s", mono, most)
	}
	if wall < down.Seconds() {
		t.Errorf("a sleep of 3 s over a gap of %v took %.2f s by the wall clock", down, wall)
	}
}

func TestAForksConnectionsNeverReachTheirParentsPeers(t *testing.T) {
	parent := newNode(t).boot()
	parent.init()
	l, err := net.Listen("tcp4", outsideIP+":7000")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	parent.background("python3", "client.py", outsideIP)
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	say := func(b *box, text string) string {
		return b.sh("rm -f /tmp/result; echo " + text + " > /tmp/say; until [ -s /tmp/result ]; do sleep 0.01; done; cat /tmp/result")
	}
	children := parent.fork(2)
	for _, b := range children {
		for range 3 {
			if got := say(b, "from-"+b.id); got == "sent" {
				t.Errorf("%s wrote to its parent's connection", b.id)
			} else {
				t.Logf("%s: %s", b.id, got)
			}
		}
	}
	if got := say(parent, "last"); got != "sent" {
		t.Errorf("the parent's connection: %s", got)
	}
	_ = peer.SetReadDeadline(time.Now().Add(time.Minute))
	var heard strings.Builder
	for buf := make([]byte, 1024); !strings.Contains(heard.String(), "last\n"); {
		k, err := peer.Read(buf)
		heard.Write(buf[:k])
		if err != nil {
			t.Errorf("the parent's peer: %v", err)
			break
		}
	}
	if heard.String() != "hello\nlast\n" {
		t.Errorf("the parent's peer heard %q", heard.String())
	}
	// A connection that a fork makes anew is its own.
	if got := children[0].sh("exec 3<>/dev/tcp/" + outsideIP + "/7000 && echo connected"); got != "connected" {
		t.Error(got)
	}
}
