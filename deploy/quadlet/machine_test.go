//go:build quadlet

package quadlet

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/telltale-iot/telltale/internal/await"
	"github.com/telltale-iot/telltale/internal/capture"
	"github.com/telltale-iot/telltale/simulator/hil"
	"github.com/telltale-iot/telltale/simulator/hil/hiltest"
	"github.com/telltale-iot/telltale/simulator/i2csim"
	"github.com/telltale-iot/telltale/simulator/tinyusb"
	"github.com/telltale-iot/telltale/simulator/usbredir"
)

const (
	// bootLimit is for an emulated processor on a host that has others to do.
	bootLimit = 10 * time.Minute
	// kvmLimit is for one that is none. It comes up in seconds, but for a host that
	// is busy; what KVM cannot do is told sooner.
	kvmLimit = 3 * time.Minute
)

// machine is a Debian with podman and systemd in QEMU. Its I2C bus is a USB adapter.
type machine struct {
	*testing.T
	console *capture.Output
	ended   <-chan struct{} // closed when QEMU has
	ssh     []string
	slow    bool // the processor is emulated
}

// startMachine boots the machine that the script install makes, with KVM if that
// works here. What it writes to its disk is gone at the end of the test.
func startMachine(t *testing.T, bus *i2csim.Bus) *machine {
	t.Helper()
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	if out, err := exec.CommandContext(t.Context(), "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
	public, err := os.ReadFile(key + ".pub")
	must(t, err)
	for _, accelerator := range []struct {
		args  []string
		limit time.Duration
	}{
		{[]string{"-accel", "kvm", "-cpu", "host", "-smp", "2"}, kvmLimit},
		// Of two emulated processors one may run what the other has just patched: the
		// kernel then panics with "Oops: int3".
		{[]string{"-accel", "tcg", "-smp", "1"}, bootLimit},
	} {
		began := time.Now()
		m := &machine{T: t, console: &capture.Output{}, slow: accelerator.limit == bootLimit}
		stop := m.boot(accelerator.args, string(public), key, bus)
		err := m.reach(accelerator.limit)
		if err == nil {
			t.Logf("up after %.0fs with %s", time.Since(began).Seconds(), strings.Join(accelerator.args, " "))
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("console:\n%s", m.console)
					m.journal()
				}
				stop()
			})
			return m
		}
		stop()
		if m.slow {
			t.Fatalf("the machine does not come up: %v\n%s", err, m.console)
		}
		t.Logf("not with %s: %v; the processor is emulated", strings.Join(accelerator.args, " "), err)
	}
	return nil
}

// boot starts QEMU and returns what ends it.
func (m *machine) boot(accelerator []string, public, key string, bus *i2csim.Bus) (stop func()) {
	port := freePort(m.T)
	folder := filepath.Join(hiltest.Cache(m.T), "quadlet-trixie")
	ours, theirs := socketPair(m.T)
	ctx, cancel := context.WithCancel(context.Background())
	qemu := exec.CommandContext(ctx, "qemu-system-x86_64", append(accelerator,
		"-machine", "q35", "-m", "1024", "-nodefaults", "-nographic", "-serial", "stdio", "-monitor", "none",
		"-kernel", filepath.Join(folder, "vmlinuz"), "-initrd", filepath.Join(folder, "initrd.img"),
		"-append", "root=/dev/vda rw console=ttyS0 quiet",
		"-drive", "if=virtio,format=raw,snapshot=on,file="+filepath.Join(folder, "disk.img"),
		"-netdev", "user,id=net,hostfwd=tcp:127.0.0.1:"+port+"-:22", "-device", "virtio-net-pci,netdev=net,romfile=",
		"-device", "virtio-rng-pci",
		"-smbios", "type=11,value=io.systemd.credential.binary:ssh.authorized_keys.root="+base64.StdEncoding.EncodeToString([]byte(public)),
		"-device", "qemu-xhci", "-chardev", "socket,id=usb,fd=3", "-device", "usb-redir,chardev=usb")...)
	qemu.ExtraFiles = []*os.File{theirs}
	qemu.Stdout, qemu.Stderr = m.console, m.console
	must(m.T, qemu.Start())
	theirs.Close()
	served := make(chan error, 1)
	go func() { served <- usbredir.NewPort(tinyusb.New(bus)).Serve(ctx, ours) }()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = qemu.Wait() // it is killed
		cancel()
		if err := <-served; err != nil {
			_, _ = fmt.Fprintln(m.console, err)
		}
	}()
	m.ended = ended
	m.ssh = []string{
		"-q", "-i", key, "-p", port, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
		"-o", "ConnectTimeout=20", "-o", "BatchMode=yes", "root@127.0.0.1",
	}
	return func() {
		cancel()
		<-ended
	}
}

// reach waits until somebody can log in.
func (m *machine) reach(limit time.Duration) error {
	ctx, cancel := context.WithTimeout(m.Context(), limit)
	defer cancel()
	for {
		if _, err := m.try(ctx, "true"); err == nil {
			return nil
		}
		// What stops the machine and not QEMU.
		for _, end := range []string{"KVM internal error", "Kernel panic"} {
			if strings.Contains(m.console.String(), end) {
				return errors.New(end)
			}
		}
		select {
		case <-m.ended:
			return errors.New("QEMU has ended")
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// try runs a command of the shell in the machine and returns all that it says.
func (m *machine) try(ctx context.Context, command string) (string, error) {
	var out bytes.Buffer
	c := exec.CommandContext(ctx, "ssh", append(m.ssh, "exec 2>&1; "+command)...)
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	return strings.TrimSpace(out.String()), err
}

// run runs a command that must succeed.
func (m *machine) run(format string, args ...any) string {
	m.Helper()
	command := fmt.Sprintf(format, args...)
	ctx, cancel := context.WithTimeout(m.Context(), bootLimit)
	defer cancel()
	out, err := m.try(ctx, command)
	if err != nil {
		m.Fatalf("%s: %v\n%s", command, err, out)
	}
	return out
}

// journal logs what the agent and its unit have said last, after the test.
func (m *machine) journal() {
	m.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := m.try(ctx, "journalctl -o short-iso -n 30 -u telltale-agent")
	m.Logf("journal: %v\n%s", err, out)
}

// write writes a file.
func (m *machine) write(name, content string) {
	m.Helper()
	m.run("mkdir -p $(dirname %s); base64 -d >%[1]s <<<%s", name, base64.StdEncoding.EncodeToString([]byte(content)))
}

// reboot has the machine start anew, and waits until that is done.
func (m *machine) reboot() {
	m.Helper()
	const id = "/proc/sys/kernel/random/boot_id"
	before := m.run("cat %s", id)
	m.run("systemctl reboot")
	await.True(m, bootLimit, "another boot", func() bool {
		now, err := m.try(m.Context(), "cat "+id)
		return err == nil && now != before
	})
}

// socketPair returns the two ends of a stream.
func socketPair(t *testing.T) (net.Conn, *os.File) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	must(t, err)
	ours, theirs := os.NewFile(uintptr(fds[0]), "usb"), os.NewFile(uintptr(fds[1]), "usb")
	defer ours.Close()
	conn, err := net.FileConn(ours)
	must(t, err)
	return conn, theirs
}

// freePort returns a port of the loopback that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	must(t, err)
	return port
}

// fromGuest is where the machine finds what listens on the host's loopback.
func fromGuest(t *testing.T, addr string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	must(t, err)
	return net.JoinHostPort(hil.HostAddr, port)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
