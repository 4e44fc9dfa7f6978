//go:build integration

package e2e

import (
	"os/exec"
	"strings"
	"testing"
)

// TestDocumentedCommands gives each command of ours in the documents to the
// built program, with --help behind it: its verbs and flags must be known.
func TestDocumentedCommands(t *testing.T) {
	checked := 0
	for file, lines := range commands(t) {
		for _, line := range lines {
			if !strings.HasPrefix(line, "bin/telltale-") {
				continue
			}
			checked++
			command := exec.Command("sh", "-c", line+" --help")
			command.Dir = root
			if out, err := command.CombinedOutput(); err != nil {
				t.Errorf("%s says %q: %v\n%s", file, line, err, out)
			}
		}
	}
	if checked < 5 {
		t.Errorf("%d commands found, want at least 5", checked)
	}
}
