package diagnose

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/telltale-iot/telltale/agent/internal/buffer"
	"github.com/telltale-iot/telltale/agent/internal/config"
	"github.com/telltale-iot/telltale/internal/settings"
)

// Disk reports whether the buffer can be kept where the configuration says. That
// another process has it open is no fault: the agent runs.
func (m *Machine) Disk(c *config.Buffer) Finding {
	f := Finding{Level: OK, Check: "disk"}
	place, err := existing(c.Dir)
	if err == nil {
		err = m.writableAll(place, c.Dir)
	}
	if err != nil {
		return m.notWritable(f, c.Dir, place, err)
	}
	if err := buffer.CheckFormat(c.Dir); err != nil {
		f.Level, f.Seen = Fail, fmt.Sprintf("%s: %v", c.Dir, err)
		if errors.Is(err, buffer.ErrNewerFormat) {
			f.Hint = "install that version again, or name another folder in buffer.dir and keep this one for it"
		}
		return f
	}
	filesystem, err := m.FileSystem(place)
	if err != nil {
		f.Level, f.Seen = Warn, fmt.Sprintf("%s: %v", c.Dir, err)
		return f
	}
	return space(f, c, filesystem, place)
}

// existing returns the folder, or the nearest above it that there is.
func existing(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return dir, err
	}
	for {
		info, err := os.Stat(dir)
		switch {
		case err == nil && !info.IsDir():
			return dir, &fs.PathError{Op: "open", Path: dir, Err: syscall.ENOTDIR}
		case err == nil, !errors.Is(err, fs.ErrNotExist), dir == filepath.Dir(dir):
			return dir, err
		}
		dir = filepath.Dir(dir)
	}
}

// writableAll returns why the folder place, or a file in it if it is the buffer's,
// cannot be written to: one that another user's agent has left, say.
func (m *Machine) writableAll(place, dir string) error {
	if err := m.Writable(place); err != nil {
		return err
	}
	if abs, err := filepath.Abs(dir); err != nil || abs != place {
		return err
	}
	entries, err := os.ReadDir(place)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := m.Writable(filepath.Join(place, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err // a file that is gone was freed just now
		}
	}
	return nil
}

func (m *Machine) notWritable(f Finding, dir, place string, err error) Finding {
	f.Level, f.Seen = Fail, err.Error()
	abs, _ := filepath.Abs(dir)
	switch {
	case errors.Is(err, syscall.EROFS):
		f.Hint = "the file system is read-only: remount it, or name a folder on another one in buffer.dir"
	case errors.Is(err, syscall.ENOTDIR):
		f.Hint = "name a folder in buffer.dir"
	case !errors.Is(err, fs.ErrPermission):
	case abs == place:
		f.Hint = fmt.Sprintf("check as the user that the agent runs as; if that is %[1]s: sudo chown -R %[1]s %[2]s", m.User(), dir)
	default:
		f.Hint = fmt.Sprintf("check as the user that the agent runs as; if that is %[1]s: sudo install -d -o %[1]s %[2]s", m.User(), dir)
	}
	return f
}

// dangers are what a file system does to a buffer.
var dangers = map[string]struct {
	level Level
	hint  string
}{
	"tmpfs":   {Fail, "it is in memory, and a power cut takes all that was not sent: name a folder on a disk in buffer.dir"},
	"ramfs":   {Fail, "it is in memory, and a power cut takes all that was not sent: name a folder on a disk in buffer.dir"},
	"overlay": {Warn, "if its upper layer is in memory, as with raspi-config's overlay file system, a restart takes all that was not sent"},
	"nfs":     {Warn, "while the network is away it stalls, and readings with it: a disk of this machine is better"},
	"smb":     {Warn, "while the network is away it stalls, and readings with it: a disk of this machine is better"},
	"cifs":    {Warn, "while the network is away it stalls, and readings with it: a disk of this machine is better"},
}

// space reports the file system and the room on it.
func space(f Finding, c *config.Buffer, s FileSystem, place string) Finding {
	used := int64(0)
	if abs, _ := filepath.Abs(c.Dir); abs == place {
		used = size(place)
	}
	name := s.Type
	if name == "" {
		name = "a file system"
	}
	f.Seen = fmt.Sprintf("%s on %s: %s free, the buffer has %s and takes up to %v", c.Dir, name, rough(s.Free), rough(used), c.MaxSize)
	danger := dangers[s.Type]
	switch needs := int64(c.MaxSize) - used; {
	case danger.level == Fail:
		f.Level, f.Hint = danger.level, danger.hint
	case s.Free < min(needs, int64(c.SegmentSize)):
		f.Level, f.Hint = Fail, "make room: the buffer cannot take another file"
	case s.Free < needs:
		f.Level, f.Hint = Warn, "make room, or lower buffer.max_size: the disk is full before the buffer is"
	case danger.level != "":
		f.Level, f.Hint = danger.level, danger.hint
	}
	return f
}

// size is what the files of a folder take, as far as they can be seen.
func size(dir string) (n int64) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			n += info.Size()
		}
	}
	return n
}

// rough writes a size for people.
func rough(n int64) string {
	unit := settings.KiB
	switch size := settings.Size(n); {
	case size >= 10*settings.GiB:
		unit = settings.GiB
	case size >= 10*settings.MiB:
		unit = settings.MiB
	}
	return (settings.Size(n) / unit * unit).String()
}
