package diagnose

import (
	"os"
	"os/user"
	"strconv"
	"time"

	"github.com/telltale-iot/telltale/agent/internal/clock"
)

// Machine is what the checks ask of the machine that they run on.
type Machine struct {
	Now  func() time.Time
	User func() string // the name of the user that the checks run as

	// Synchronised reports whether the kernel holds its clock to be
	// synchronised.
	Synchronised func() (bool, error)
	// Writable returns why the user may not write to the file, or make files
	// in the folder.
	Writable func(path string) error
	// FileSystem returns the file system that the path is on.
	FileSystem func(path string) (FileSystem, error)
}

// FileSystem is where files are.
type FileSystem struct {
	Type string // "ext4"; "" is one without a name here
	Free int64  // bytes that the user may still fill
}

// Host returns the machine itself.
func Host() Machine {
	return Machine{
		Now:          time.Now,
		User:         userName,
		Synchronised: clock.KernelSynced,
		Writable:     writable,
		FileSystem:   fileSystem,
	}
}

func userName() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return strconv.Itoa(os.Getuid())
}
