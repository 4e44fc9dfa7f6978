//go:build integration

package mongo

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// tellsOneByOne: only FerretDB does not tell which of several replacements failed.
const tellsOneByOne = false

// root is the repository's folder, seen from this package's.
const root = "../../.."

// startServer starts the server that deploy/local installs.
func startServer() (uri string, stop func(), err error) {
	dir, err := os.MkdirTemp("", "telltale-mongo-")
	if err != nil {
		return "", nil, err
	}
	s := localServer{port: cmp.Or(os.Getenv("MONGO_PORT"), "27117"), dir: dir}
	if err := s.run("start"); err != nil {
		return "", nil, err
	}
	return "mongodb://127.0.0.1:" + s.port, func() {
		if err := s.run("stop"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return
		}
		_ = os.RemoveAll(dir)
	}, nil
}

// localServer is a server that deploy/local/servers starts.
type localServer struct {
	port, dir string
	args      string // of the server's command line
}

func (s localServer) run(verb string) error {
	command := exec.Command(filepath.Join(root, "deploy/local/servers"), verb, "mongo")
	command.Env = append(os.Environ(), "TELLTALE_LOCAL="+s.dir, "MONGO_PORT="+s.port, "MONGO_ARGS="+s.args)
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("servers %s mongo: %w\n%s", verb, err, out)
	}
	return nil
}

// isPython reports whether the server is the one that deploy/local installs where
// there is no Rust compiler. Its explain tells not what it does, its documents
// have no sizes, and its readWrite role may collMod: what says so is not held
// against it.
func isPython(t *testing.T) bool {
	t.Helper()
	if os.Getenv(uriVariable) != "" {
		return false
	}
	const rust = `. deploy/local/versions.env && test -x "${TELLTALE_CACHE:-$HOME/.cache/telltale}/secantus-$SECANTUS_VERSION/bin/secantusd-rs"`
	command := exec.Command("sh", "-c", rust)
	command.Dir = root
	if command.Run() == nil {
		return false
	}
	t.Log("the server is secantusd-py: plans, sizes and rights are not checked")
	return true
}
