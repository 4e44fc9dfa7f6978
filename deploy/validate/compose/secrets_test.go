package compose

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
)

// makeSecrets runs deploy/compose/make-secrets for a new folder.
func makeSecrets(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "secrets")
	run(t, dir)
	return dir
}

func run(t *testing.T, dir string) {
	t.Helper()
	command := exec.Command(filepath.Join(folder, "make-secrets"), "2")
	command.Env = append(os.Environ(), "TELLTALE_SECRETS="+dir)
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("make-secrets: %v\n%s", err, out)
	}
}

// contents returns the files of a folder but the authority's.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasPrefix(path, filepath.Join(dir, "pki")) {
			return err
		}
		name, err := filepath.Rel(dir, path)
		files[name] = read(t, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestSecretsAreMade: make-secrets makes every secret of compose.yaml and no
// other, none twice, and changes none the second time.
func TestSecretsAreMade(t *testing.T) {
	dir := makeSecrets(t)
	first := contents(t, dir)
	wanted := map[string]bool{"admin.password": true} // for people
	for _, device := range []string{"device-1", "device-2"} {
		wanted["fleet/"+device+".crt"], wanted["fleet/"+device+".key"] = true, true
	}
	base, err := filepath.Abs(filepath.Join(folder, "secrets"))
	if err != nil {
		t.Fatal(err)
	}
	want := func(name, path string) {
		file, err := filepath.Rel(base, path)
		if err != nil || strings.HasPrefix(file, "..") {
			t.Errorf("%s is not of the folder that git ignores: %s", name, path)
		}
		wanted[file] = true
		if first[file] == "" {
			t.Errorf("%s: make-secrets makes no %s", name, file)
		}
	}
	project := load(t, "compose.yaml")
	for name, s := range project.Secrets {
		want("secret "+name, s.File)
	}
	for name, s := range project.Services {
		for _, e := range s.EnvFiles {
			want("variables of "+name, e.Path)
		}
	}
	passwords := make(map[string]string)
	for file, content := range first {
		if !wanted[file] {
			t.Errorf("%s is made for nobody", file)
		}
		if !strings.HasSuffix(file, ".password") {
			continue
		}
		if len(strings.TrimSpace(content)) < 48 {
			t.Errorf("%s: %d characters", file, len(content))
		}
		if other := passwords[content]; other != "" && content != first["admin.password"] {
			t.Errorf("%s and %s are the same", file, other)
		}
		passwords[content] = file
	}
	run(t, dir)
	for file, content := range contents(t, dir) {
		if first[file] != content {
			t.Errorf("%s is another the second time", file)
		}
	}
	if !strings.Contains(read(t, filepath.Join(repository, ".gitignore")), "\n/deploy/compose/secrets/\n") {
		t.Error("git does not ignore deploy/compose/secrets")
	}
}

// TestShareGroup: the bridges divide the agents' frames among themselves, in a
// group whose name is another in every installation.
func TestShareGroup(t *testing.T) {
	one, other := makeSecrets(t), makeSecrets(t)
	group := func(dir string) string { return read(t, filepath.Join(dir, "ingest", "mqtt.env")) }
	if !regexp.MustCompile(`^TELLTALE_MQTT_SHARE_GROUP=[0-9a-f]{16}\n$`).MatchString(group(one)) || group(one) == group(other) {
		t.Errorf("the groups are %q and %q", group(one), group(other))
	}
	for name, s := range load(t, "compose.yaml").Services {
		has := len(s.EnvFiles) == 1 && strings.HasSuffix(s.EnvFiles[0].Path, "/ingest/mqtt.env") && bool(s.EnvFiles[0].Required)
		if bridge := value(s, "TELLTALE_ROLES") == "[bridge]"; has != bridge || !has && len(s.EnvFiles) > 0 {
			t.Errorf("%s has the variables of %v", name, s.EnvFiles)
		}
	}
}

// TestSecretsAreKept: who may read a secret is the user of its service.
func TestSecretsAreKept(t *testing.T) {
	users := make(map[string]string)
	for _, match := range regexp.MustCompile(`(?m)^([a-z-]+) ([0-9]+)$`).FindAllStringSubmatch(read(t, filepath.Join(folder, "make-secrets")), -1) {
		users[match[1]] = match[2]
	}
	project := load(t, "compose.yaml")
	used := make(map[string]bool)
	each(t, project, func(t *testing.T, s types.ServiceConfig) {
		for _, mount := range s.Secrets {
			used[mount.Source] = true
			owner := filepath.Base(filepath.Dir(project.Secrets[mount.Source].File))
			if owner == "secrets" {
				continue // the authority's certificate, which is no secret
			}
			if uid, _, _ := strings.Cut(s.User, ":"); users[owner] != uid {
				t.Errorf("it reads %s of %s as user %s, whose is %s", mount.Source, owner, uid, users[owner])
			}
			group := strings.TrimSuffix(s.Name, "-setup")
			if strings.HasPrefix(group, "ingest-") {
				group = "ingest"
			}
			if owner != group {
				t.Errorf("it is given %s, a secret of %s", mount.Source, owner)
			}
		}
		for name, value := range s.Environment {
			if value == nil {
				t.Errorf("%s comes from whoever starts it", name)
			} else if regexp.MustCompile(`(?i)password|secret|token`).MatchString(name) && !strings.Contains(*value, "/run/secrets/") {
				t.Errorf("%s is in the environment, which docker inspect shows", name)
			} else if regexp.MustCompile(`://[^/]*:[^/]*@`).MatchString(*value) {
				t.Errorf("%s has a password", name)
			}
		}
		for _, word := range slices.Concat(s.Command, s.Entrypoint) {
			if regexp.MustCompile(`(?i)passw(or)?d=|://[^/]*:[^/]*@`).MatchString(word) {
				t.Errorf("%s is in the command line, which ps shows", word)
			}
		}
	})
	for name := range project.Secrets {
		if !used[name] {
			t.Errorf("secret %s is nobody's", name)
		}
	}

	dir := makeSecrets(t)
	top, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	if top.Mode().Perm() != 0o700 {
		t.Errorf("%s has mode %o", dir, top.Mode().Perm())
	}
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Base(path) == "ca.crt" {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		service := filepath.Base(filepath.Dir(path))
		uid, ok := users[service]
		switch stat := info.Sys().(*syscall.Stat_t); {
		case !ok:
		case os.Getuid() != 0:
			// Nobody else can enter the folder at the top.
			if info.Mode().Perm() != 0o444 {
				t.Errorf("%s has mode %o: nobody in a container could read it", path, info.Mode().Perm())
			}
		case info.Mode().Perm() != 0o400 || strconv.Itoa(int(stat.Uid)) != uid:
			t.Errorf("%s has mode %o and the owner %d: want 400, %s", path, info.Mode().Perm(), stat.Uid, uid)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
