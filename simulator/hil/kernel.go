package hil

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// kernel is an unpacked linux-image package.
type kernel struct {
	dir     string
	image   string            // the file that is booted
	modules map[string]string // the files of modules, by their names
	builtin map[string]bool   // the names of those in the image
}

// openKernel finds what there is in dir, which the script install makes.
func openKernel(dir string) (*kernel, error) {
	k := &kernel{dir: dir, modules: make(map[string]string), builtin: make(map[string]bool)}
	var err error
	if k.image, err = k.file("boot/vmlinuz-*"); err != nil {
		return nil, err
	}
	_, version, _ := strings.Cut(filepath.Base(k.image), "-")
	root := filepath.Join(dir, "lib", "modules", version)
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && strings.HasSuffix(path, ".ko") {
			k.modules[moduleName(path)] = path
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("kernel %s: %w", dir, err)
	}
	builtin, err := os.ReadFile(filepath.Join(root, "modules.builtin"))
	if err != nil {
		return nil, fmt.Errorf("kernel %s: %w", dir, err)
	}
	for line := range strings.Lines(string(builtin)) {
		k.builtin[moduleName(strings.TrimSpace(line))] = true
	}
	return k, nil
}

// file returns the one file of the package that matches a pattern.
func (k *kernel) file(pattern string) (string, error) {
	files, err := filepath.Glob(filepath.Join(k.dir, pattern))
	if err != nil {
		return "", err
	}
	if len(files) != 1 {
		return "", fmt.Errorf("kernel %s: %d files %s, want one: simulator/hil/install fetches them", k.dir, len(files), pattern)
	}
	return files[0], nil
}

// moduleName returns the name of a module's file, in which - and _ are one.
func moduleName(path string) string {
	return strings.ReplaceAll(strings.TrimSuffix(filepath.Base(path), ".ko"), "-", "_")
}

// order returns the files of modules with those they depend on, each once and
// after those. There is no file of what is in the kernel's image.
//
// Soft dependencies are not followed: they name aliases, and the kernel does
// without. Who needs one names it.
func (k *kernel) order(names ...string) ([]string, error) {
	var files []string
	var visit func(name string, path []string) error
	visit = func(name string, path []string) error {
		name = moduleName(name)
		file, ok := k.modules[name]
		switch {
		case k.builtin[name] || slices.Contains(files, file):
			return nil
		case !ok:
			return fmt.Errorf("kernel %s: no module %s", filepath.Base(k.image), strings.Join(append(path, name), " > "))
		case slices.Contains(path, name):
			return fmt.Errorf("kernel %s: module %s depends on itself", filepath.Base(k.image), strings.Join(append(path, name), " > "))
		}
		depends, err := dependencies(file)
		if err != nil {
			return err
		}
		for _, other := range depends {
			if err := visit(other, append(path, name)); err != nil {
				return err
			}
		}
		files = append(files, file)
		return nil
	}
	for _, name := range names {
		if err := visit(name, nil); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// dependencies returns what the module's section .modinfo says it depends on. An
// extracted package has no modules.dep.
func dependencies(file string) ([]string, error) {
	module, err := elf.Open(file)
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", file, err)
	}
	defer func() { _ = module.Close() }()
	section := module.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("module %s: no section .modinfo", file)
	}
	info, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", file, err)
	}
	return parseDepends(info), nil
}

// parseDepends reads key=value pairs, each ended by a zero.
func parseDepends(info []byte) []string {
	for field := range bytes.SplitSeq(info, []byte{0}) {
		if value, ok := bytes.CutPrefix(field, []byte("depends=")); ok && len(value) > 0 {
			return strings.Split(string(value), ",")
		}
	}
	return nil
}
