package agent

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"

	"github.com/telltale-iot/telltale/agent/internal/buffer"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// The errors of [InspectBuffer].
var (
	// ErrNoBuffer says that there is no buffer in the folder.
	ErrNoBuffer = buffer.ErrNoBuffer
	// ErrNewerFormat says that a newer version of this program made the buffer.
	ErrNewerFormat = buffer.ErrNewerFormat
)

// A BufferInspection is a look at the buffer of an agent, which may run meanwhile or
// not. It changes nothing and takes no lock. One goroutine uses it at a time.
type BufferInspection struct {
	dir string
	i   *buffer.Inspection
}

// InspectBuffer looks at the buffer in dir. The error is ErrNoBuffer, ErrNewerFormat,
// or that of the disk.
func InspectBuffer(dir string) (*BufferInspection, error) {
	i, err := buffer.Inspect(buffer.Options{Dir: dir, BootID: bootID()})
	if err != nil {
		return nil, err
	}
	return &BufferInspection{dir, i}, nil
}

// Contents says what is in the buffer. The error is the disk's, or that of ctx.
func (b *BufferInspection) Contents(ctx context.Context) (*BufferContents, error) {
	c, err := b.i.Contents(ctx)
	if err != nil {
		return nil, err
	}
	return &BufferContents{Dir: b.dir, Contents: *c}, nil
}

// DumpOptions say what [BufferInspection.Dump] writes.
type DumpOptions struct {
	All     bool // what is freed, and still on the medium, as well
	Waiting bool // readings whose time is not known yet, in an envelope
	Records bool // instead of frames, every record as it is on the medium
}

// Dump writes each reading and declared loss to w, oldest first, as a line of the
// JSON that the agent sends. It returns how many readings it left out because their
// time is not known yet. The error is that of w, of the disk, or of ctx.
func (b *BufferInspection) Dump(ctx context.Context, w io.Writer, o DumpOptions) (left uint64, err error) {
	out := bufio.NewWriterSize(w, 64<<10)
	if o.Records {
		err = b.i.Records(ctx, func(r *buffer.RawRecord) error {
			_, err := fmt.Fprintf(out, "%s %d %s %d %s\n", r.Segment, r.Position, r.Type, r.Length, r.Content)
			return err
		})
	} else {
		left, err = b.frames(ctx, out, o)
	}
	if flushed := out.Flush(); err == nil {
		err = flushed
	}
	return left, err
}

func (b *BufferInspection) frames(ctx context.Context, out *bufio.Writer, o DumpOptions) (left uint64, err error) {
	var line []byte
	err = b.i.Frames(ctx, o.All, func(f *buffer.Shown) error {
		switch {
		case !f.Waiting:
			line = telemetry.AppendFrame(line[:0], &f.Frame)
		case o.Waiting:
			line = appendWaiting(line[:0], f)
		default:
			left++
			return nil
		}
		_, err := out.Write(append(line, '\n'))
		return err
	})
	return left, err
}

// appendWaiting appends the envelope of a reading whose time is not known: it says
// what is, and its frame has the timestamp 0.
func appendWaiting(line []byte, f *buffer.Shown) []byte {
	line = append(line, `{"waiting":{"boot":`...)
	line = strconv.AppendUint(line, f.Boot, 10)
	line = append(line, `,"boottime":`...)
	line = strconv.AppendInt(line, f.Boottime.Milliseconds(), 10)
	line = append(line, `},"frame":`...)
	f.Timestamp = 0
	line = telemetry.AppendFrame(line, &f.Frame)
	return append(line, '}')
}

// Verify checks the whole buffer and writes a line for each finding, and one that says
// how much was checked. It returns the number of findings that are no notes. The error
// is that of w, of the disk, or of ctx.
func (b *BufferInspection) Verify(ctx context.Context, w io.Writer) (findings uint64, err error) {
	out := bufio.NewWriter(w)
	done, err := b.i.Verify(ctx, func(f *buffer.Finding) error {
		_, err := fmt.Fprintf(out, "%-6s  %s at %d: %s\n", f.Kind, f.Segment, f.Position, f.What)
		return err
	})
	if err == nil {
		verdict := "ok"
		if done.Findings > 0 {
			verdict = "fail"
		}
		_, err = fmt.Fprintf(out, "%-6s  %s, %s, %s of %s verify\n", verdict,
			several(uint64(done.Segments), "segment"), several(done.Records, "record"), several(done.Readings, "reading"), roughly(done.Bytes))
	}
	if flushed := out.Flush(); err == nil {
		err = flushed
	}
	return done.Findings, err
}

// several writes a number of things.
func several(n uint64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return strconv.FormatUint(n, 10) + " " + thing + "s"
}

// roughly writes a size for people.
func roughly(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB"}
	v, unit := float64(n), 0
	for v >= 1024 && unit < len(units)-1 {
		v, unit = v/1024, unit+1
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", v, units[unit])
}

// table has rows of cells, which are separated by tabs. Flush returns every error.
type table struct{ *tabwriter.Writer }

func newTable(w io.Writer) table { return table{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)} }

func (t table) row(format string, args ...any) { _, _ = fmt.Fprintf(t, format+"\n", args...) }
