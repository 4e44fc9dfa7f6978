//go:build hil

package writelog

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/telltale-iot/telltale/simulator/disk"
)

// TestQEMU reads a log that QEMU has made.
func TestQEMU(t *testing.T) {
	image, log := filepath.Join(t.TempDir(), "image"), filepath.Join(t.TempDir(), "log")
	for name, content := range map[string][]byte{image: sectors("................"), log: nil} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command("qemu-io", "-t", "writeback", "--image-opts",
		"-c", "write -P 0x61 512 1k", "-c", "flush", "-c", "write -P 0x62 1k 512", "-c", "write -z 2k 512", "-c", "flush", "-c", "write -P 0x63 0 512",
		"driver=blklogwrites,file.driver=raw,file.file.filename="+image+",log.driver=raw,log.file.filename="+log).CombinedOutput()
	if err != nil {
		t.Fatalf("qemu-io: %v\n%s", err, out)
	}
	f, err := os.Open(log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	entries, err := Read(f)
	if err != nil {
		t.Fatal(err)
	}
	want := []Entry{
		{Write: disk.Write{Offset: 512, Data: sectors("aa")}},
		{Flush: true},
		{Write: disk.Write{Offset: 1024, Data: sectors("b")}},
		{Write: disk.Write{Offset: 2048, Data: sectors("\x00")}},
		{Flush: true},
		{Write: disk.Write{Data: sectors("c")}},
		{Flush: true}, // at its end
	}
	if diff := cmp.Diff(want, entries); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}
