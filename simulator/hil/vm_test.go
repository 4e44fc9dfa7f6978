//go:build hil

package hil_test

import (
	"context"
	"errors"
	"io/fs"
	"syscall"
	"testing"
	"time"

	"github.com/telltale-iot/telltale/internal/capture"
	"github.com/telltale-iot/telltale/simulator/hil"
	"github.com/telltale-iot/telltale/simulator/hil/hiltest"
	"github.com/telltale-iot/telltale/simulator/i2csim"
)

// deadline is for a step in a guest.
func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// The calls that other tests rely on.
func TestGuest(t *testing.T) {
	vm := hiltest.Start(t, hil.Options{Machine: hil.ARM64, Bus: i2csim.NewBus(i2csim.BusOptions{}), Modules: []string{"bmp280_i2c"}})
	ctx := deadline(t)
	if wall, _, err := vm.Clock(ctx); err != nil || wall.Year() != 1970 {
		t.Errorf("clock %s, %v: want 1970", wall, err)
	}
	if err := vm.SetClock(ctx); err != nil {
		t.Error(err)
	}
	if err := vm.TrustClock(ctx); err != nil {
		t.Error(err)
	}
	if wall, boottime, err := vm.Clock(ctx); err != nil || time.Since(wall).Abs() > 10*time.Second || boottime <= 0 {
		t.Errorf("clock %s, boottime %s, %v: want now and the time since the start", wall, boottime, err)
	}
	if device, name, err := vm.Adapter(ctx); err != nil || device != "i2c-0" {
		t.Errorf("adapter %s, %q, %v: want i2c-0", device, name, err)
	}
	if err := vm.LoadModule(ctx, "bmp280_i2c"); err != nil {
		t.Error(err)
	}
	if err := vm.LoadModule(ctx, "ext4"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a module that is not there: %v, want one that is fs.ErrNotExist", err)
	}
	if names, err := vm.Glob(ctx, "/sys/bus/i2c/drivers/bmp2*"); err != nil || len(names) != 1 {
		t.Errorf("drivers %s, %v: want that of the module", names, err)
	}

	if err := vm.WriteFile(ctx, "/tmp/a/b", []byte("hello"), 0o600); err != nil {
		t.Error(err)
	}
	if data, err := vm.ReadFile(ctx, "/tmp/a/b"); err != nil || string(data) != "hello" {
		t.Errorf("read %q, %v: want hello", data, err)
	}
	if err := vm.Remove(ctx, "/tmp/a"); err != nil {
		t.Error(err)
	}
	if _, err := vm.ReadFile(ctx, "/tmp/a/b"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that was removed: %v, want one that is fs.ErrNotExist", err)
	}
	if err := vm.Mount(ctx, "nothing", "/mnt", "ext4", ""); !errors.Is(err, syscall.ENODEV) {
		t.Errorf("a file system that is not there: %v, want ENODEV", err)
	}
	if err := vm.Mount(ctx, "tmpfs", "/mnt", "tmpfs", "size=4k"); err != nil {
		t.Error(err)
	}
	if err := vm.Unmount(ctx, "/mnt"); err != nil {
		t.Error(err)
	}
	if _, err := vm.Run(ctx, hil.Command{Args: []string{"/nothing"}, Stdout: &capture.Output{}}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a program that is not there: %v, want one that is fs.ErrNotExist", err)
	}
	if err := vm.PowerOff(ctx); err != nil {
		t.Error(err)
	}
	if _, err := vm.Glob(ctx, "/*"); err == nil {
		t.Error("a machine without power answers")
	}
}
