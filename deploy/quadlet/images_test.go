//go:build quadlet

package quadlet

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/telltale-iot/telltale/internal/await"
	"github.com/telltale-iot/telltale/internal/capture"
)

// registry is a registry of images on the loopback.
type registry struct {
	*testing.T
	addr string
	work string
}

// startRegistry runs Debian's registry until the test ends.
func startRegistry(t *testing.T) *registry {
	t.Helper()
	r := &registry{T: t, addr: net.JoinHostPort("127.0.0.1", freePort(t)), work: t.TempDir()}
	config := filepath.Join(r.work, "registry.yml")
	must(t, os.WriteFile(config, fmt.Appendf(nil, `version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: %s/registry}}
http: {addr: %s}
`, r.work, r.addr), 0o600))
	log := &capture.Output{}
	ctx, cancel := context.WithCancel(context.Background())
	server := exec.CommandContext(ctx, "docker-registry", "serve", config)
	server.Stdout, server.Stderr = log, log
	must(t, server.Start())
	t.Cleanup(func() {
		cancel()
		_ = server.Wait() // it is killed
		if t.Failed() {
			t.Logf("registry:\n%s", log)
		}
	})
	await.True(t, 2*time.Minute, "the registry answers", func() bool {
		answer, err := http.Get("http://" + r.addr + "/v2/")
		if err != nil {
			return false
		}
		answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
	return r
}

// push makes an image of the agent that says it is of a version, and gives it the
// tag that devices follow. Lines of a Containerfile say what is wrong with it.
func (r *registry) push(version string, wrong ...string) {
	r.Helper()
	// The context is that of `make images`, for this machine alone.
	folder := filepath.Join(r.work, version)
	for name, content := range map[string]string{
		"common/etc/passwd": "telltale:x:65532:65532::/:/sbin/nologin\n",
		"common/etc/group":  "telltale:x:65532:\n",
	} {
		name = filepath.Join(folder, name)
		must(r.T, os.MkdirAll(filepath.Dir(name), 0o755))
		must(r.T, os.WriteFile(name, []byte(content), 0o644))
	}
	must(r.T, os.MkdirAll(filepath.Join(folder, "common", "var", "lib"), 0o755))
	must(r.T, os.MkdirAll(filepath.Join(folder, "state", "telltale-agent"), 0o750))
	build := exec.CommandContext(r.Context(), "go", "build", "-trimpath",
		"-ldflags", "-s -w -X github.com/telltale-iot/telltale/internal/command.version="+version,
		"-o", filepath.Join(folder, "amd64", "usr", "bin", "telltale-agent"), "github.com/telltale-iot/telltale/agent/cmd/telltale-agent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=amd64", "GOOS=linux")
	r.command(build)
	recipe, err := os.ReadFile("../images/telltale-agent.Containerfile")
	must(r.T, err)
	file := filepath.Join(folder, "Containerfile")
	must(r.T, os.WriteFile(file, []byte(string(recipe)+strings.Join(wrong, "\n")+"\n"), 0o600))
	r.buildah("bud", "--quiet", "--isolation", "chroot", "--format", "docker", "--layers=false", "--platform", "linux/amd64",
		"--build-arg", "TARGETARCH=amd64", "--build-arg", "TARGETVARIANT=", "--tag", version, "--file", file, folder)
	r.buildah("push", "--quiet", "--tls-verify=false", version, "docker://"+r.addr+"/telltale-agent:stable")
}

func (r *registry) buildah(args ...string) {
	r.Helper()
	store := []string{"--root", filepath.Join(r.work, "storage"), "--runroot", filepath.Join(r.work, "run"), "--storage-driver", "vfs"}
	r.command(exec.CommandContext(r.Context(), "buildah", append(store, args...)...))
}

func (r *registry) command(c *exec.Cmd) {
	r.Helper()
	if out, err := c.CombinedOutput(); err != nil {
		r.Fatalf("%s: %v\n%s", strings.Join(c.Args, " "), err, out)
	}
}
