//go:build hil

package disk

import (
	"net"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/telltale-iot/telltale/simulator/disk/nbd"
)

// TestQEMU has QEMU's own client write, flush, write through and die with a
// write that is not flushed.
func TestQEMU(t *testing.T) {
	m := medium(sectors("................"))
	d := New(m, int64(len(m)), random())
	socket := filepath.Join(t.TempDir(), "nbd")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- nbd.Serve(t.Context(), l, d) }()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	run := func(commands ...string) ([]byte, error) {
		args := []string{"-f", "raw", "-t", "writeback"}
		for _, c := range commands {
			args = append(args, "-c", c)
		}
		return exec.Command("qemu-io", append(args, "nbd+unix:///?socket="+socket)...).CombinedOutput()
	}
	if out, err := run("write -P 0x61 0 4k", "flush", "write -f -P 0x62 512 1k", "read -P 0x62 512 1k", "read -P 0x61 1536 512"); err != nil {
		t.Fatalf("qemu-io: %v\n%s", err, out)
	}
	if out, err := run("write -f -P 0x63 4k 512", "write -P 0x64 4k 1k", "read -P 0x64 4k 1k", "abort"); err == nil {
		t.Fatalf("qemu-io should have died\n%s", out)
	}
	if got := letters(m); got != "abbaaaaa........" {
		t.Errorf("the medium has %q before the cut", got)
	}
	d.Cut(LoseAll)
	if got := letters(m); got != "abbaaaaac......." {
		t.Errorf("the medium has %q after the cut", got)
	}
}
