package diagnose

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// writable asks access(2).
func writable(path string) error {
	mode := uint32(unix.W_OK)
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		mode |= unix.X_OK
	}
	if err := unix.Faccessat(unix.AT_FDCWD, path, mode, unix.AT_EACCESS); err != nil {
		return &os.PathError{Op: "write", Path: path, Err: err}
	}
	return nil
}

// fileSystem asks statfs(2).
func fileSystem(path string) (FileSystem, error) {
	var s unix.Statfs_t
	for {
		err := unix.Statfs(path, &s)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EINTR) {
			return FileSystem{}, &os.PathError{Op: "statfs", Path: path, Err: err}
		}
	}
	return FileSystem{
		Type: fileSystems[uint32(s.Type)],       // a magic number has 32 bits, whatever its type
		Free: int64(s.Bavail) * int64(s.Frsize), //nolint:unconvert // it has 32 bits on 32-bit ARM
	}, nil
}

// fileSystems are those that one meets on a Raspberry Pi, and those that the check
// warns of, by their magic numbers: statfs(2).
var fileSystems = map[uint32]string{
	unix.EXT4_SUPER_MAGIC:      "ext4",
	unix.BTRFS_SUPER_MAGIC:     "btrfs",
	unix.XFS_SUPER_MAGIC:       "xfs",
	unix.F2FS_SUPER_MAGIC:      "f2fs",
	unix.MSDOS_SUPER_MAGIC:     "vfat",
	unix.EXFAT_SUPER_MAGIC:     "exfat",
	unix.TMPFS_MAGIC:           "tmpfs",
	unix.RAMFS_MAGIC:           "ramfs",
	unix.OVERLAYFS_SUPER_MAGIC: "overlay",
	unix.NFS_SUPER_MAGIC:       "nfs",
	unix.SMB2_SUPER_MAGIC:      "smb",
	unix.CIFS_SUPER_MAGIC:      "cifs",
}
