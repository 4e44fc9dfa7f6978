// Package hiltest has virtual machines in tests.
package hiltest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/telltale-iot/telltale/internal/capture"
	"github.com/telltale-iot/telltale/simulator/hil"
)

// bootLimit is for a machine on a processor that it shares with others.
const bootLimit = 2 * time.Minute

// Start boots a machine that is killed at the end of the test. Options.Kernels
// and Options.Console are set. If the test fails, the console is in its log.
func Start(t *testing.T, o hil.Options) *hil.VM {
	t.Helper()
	o.Kernels = Cache(t)
	console := &capture.Output{}
	o.Console = console
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("console of %s:\n%s", o.Machine, console)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), bootLimit)
	defer cancel()
	began := time.Now()
	vm, err := hil.Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = vm.Kill() })
	t.Logf("%s is up after %.1fs", o.Machine, time.Since(began).Seconds())
	return vm
}

// Cache returns the folder in which the Makefile keeps what it fetched:
// TELLTALE_CACHE, or .cache/telltale in the home folder.
func Cache(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("TELLTALE_CACHE"); dir != "" {
		return dir
	}
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(home, ".cache", "telltale")
}

// Ext4 makes an image of an empty ext4 of so many bytes, and returns its name.
func Ext4(t *testing.T, size int64) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "ext4")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, size); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "/sbin/mkfs.ext4", "-q", name).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v\n%s", err, out)
	}
	return name
}
