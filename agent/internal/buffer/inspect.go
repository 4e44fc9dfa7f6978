package buffer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// CheckFormat returns ErrNewerFormat if the buffer in dir was made by a newer version
// of this program, or why that cannot be known. That there is no buffer is no error.
// It takes no lock and writes nothing, so another process may have the buffer open.
func CheckFormat(dir string) error {
	p, err := os.ReadFile(filepath.Join(dir, identityName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read buffer: %w", err)
	}
	_, _, err = decodeIdentity(p)
	return err
}
