//go:build integration && linux

package agent_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// mount mounts a real file system for the test's user.
func mount(t *testing.T, dir string, args ...string) {
	t.Helper()
	must(t, os.MkdirAll(dir, 0o700))
	must(t, asRoot("mount", append(args, dir)...))
	t.Cleanup(func() {
		if err := asRoot("umount", "--lazy", dir); err != nil {
			t.Error(err)
		}
	})
	must(t, asRoot("chown", fmt.Sprint(os.Geteuid()), dir))
}

// asRoot runs a command that only root may.
func asRoot(name string, args ...string) error {
	if os.Geteuid() != 0 {
		name, args = "sudo", append([]string{"--non-interactive", name}, args...)
	}
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %v, which needs root: %w\n%s", name, args, err, out)
	}
	return nil
}

// fill makes a file that takes all the room there is, and returns what removes
// it.
func fill(t *testing.T, dir string) (remove func()) {
	t.Helper()
	name := filepath.Join(dir, "filler")
	f, err := os.Create(name)
	must(t, err)
	for size := 1 << 20; size >= 4096; {
		_, err := f.Write(make([]byte, size))
		if errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else {
			must(t, err)
		}
	}
	must(t, f.Close())
	return func() { must(t, os.Remove(name)) }
}

// fast makes the test's sensors fill a segment in seconds.
func fast(addr, dir string) []string {
	return []string{"ADDR", addr, "DIR", dir, "commit_interval: 100ms", "commit_interval: 10ms", "interval: 250ms", "interval: 10ms", "max_size: 4MiB", "max_size: 64MiB"}
}

func wantAll(t *testing.T, sampled, received *record) {
	t.Helper()
	if diff := cmp.Diff(sampled.all(), received.all(), cmp.AllowUnexported(telemetry.Payload{})); diff != "" {
		t.Errorf("sampled and received differ (-sampled +received):\n%s", diff)
	}
}

// TestDiskFillsUp fills a real file system while the broker is away, and makes
// room again. Sampling goes on, and what was taken meanwhile ends on the disk:
// the agent is started anew before the broker is back.
func TestDiskFillsUp(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "disk")
	mount(t, dir, "-t", "tmpfs", "-o", "size=4m", "tmpfs")
	sampled, received := newRecord(), newRecord()
	in := startIngest(t, "127.0.0.1:0", received)
	a := runWith(t, nil, sampled.add, fast(in.addr, filepath.Join(dir, "buffer"))...)
	eventually(t, "readings arrive", func() bool { return received.len() >= 5 })
	in.stop()
	remove := fill(t, dir)
	eventually(t, "the disk is full", func() bool { return a.Stats().DiskFault == "disk_full" })
	n := sampled.len()
	eventually(t, "sampling goes on", func() bool { return sampled.len() >= n+100 })
	if st := a.Stats(); st.Refused != 0 || len(st.Losses) != 0 {
		t.Errorf("stats %+v, want nothing refused or lost", st)
	}
	remove()
	eventually(t, "readings go to disk again", func() bool { return a.Stats().DiskFault == "" })
	a.stop()

	in = startIngest(t, in.addr, received)
	a = runWith(t, nil, sampled.add, fast(in.addr, filepath.Join(dir, "buffer"))...)
	eventually(t, "what was on disk arrives", func() bool { return received.len() >= n+100 })
	a.drained(t)
	wantAll(t, sampled, received)
}

// TestDiskBreaks has a real ext4 lose its medium: it answers EIO, and the kernel
// makes it read-only. Every reading is delivered.
func TestDiskBreaks(t *testing.T) {
	under := filepath.Join(t.TempDir(), "medium")
	mount(t, under, "-t", "tmpfs", "-o", "size=12m", "tmpfs")
	image := filepath.Join(under, "image")
	must(t, os.WriteFile(image, nil, 0o600))
	must(t, os.Truncate(image, 64<<20)) // more than there is
	if out, err := exec.Command("/sbin/mkfs.ext4", "-q", image).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v\n%s", err, out)
	}
	dir := filepath.Join(t.TempDir(), "disk")
	mount(t, dir, "-o", "loop,errors=remount-ro", image)

	sampled, received := newRecord(), newRecord()
	in := startIngest(t, "127.0.0.1:0", received)
	a := runWith(t, nil, sampled.add, fast(in.addr, filepath.Join(dir, "buffer"))...)
	eventually(t, "readings arrive", func() bool { return received.len() >= 5 })
	fill(t, under)
	eventually(t, "the disk is broken", func() bool { return a.Stats().DiskFault != "" })
	n := received.len()
	eventually(t, "readings still arrive", func() bool { return received.len() >= n+100 })
	if st := a.Stats(); st.Refused != 0 {
		t.Errorf("stats %+v, want nothing refused", st)
	}
	a.broken = true
	a.StopSampling()
	eventually(t, "all arrives", func() bool { return received.len() == sampled.len() })
	wantAll(t, sampled, received)
	t.Logf("%d readings, fault %s", sampled.len(), a.Stats().DiskFault)
}
