package telemetry

import (
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestReadme holds the examples of README.md to the golden files: each is one
// of them, but for white space, and none is left out.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	examples := map[string]string{} // golden file by content
	for _, file := range files {
		if strings.HasSuffix(file.Name(), ".json") {
			examples[golden(t, file.Name(), nil)] = file.Name()
		}
	}
	for _, block := range regexp.MustCompile("(?s)```json\n(.*?)```").FindAllSubmatch(readme, -1) {
		var compact bytes.Buffer
		if err := json.Compact(&compact, block[1]); err != nil {
			t.Errorf("%v in\n%s", err, block[1])
			continue
		}
		if examples[compact.String()] == "" {
			t.Errorf("no golden file is\n%s", block[1])
		}
		delete(examples, compact.String())

		var d Decoder
		var r Receipt
		if strings.HasPrefix(compact.String(), `{"frames"`) {
			if err := DecodeReceipt(block[1], &r); err != nil || len(r.Frames) == 0 {
				t.Errorf("%v in\n%s", err, block[1])
			}
			continue
		}
		frames := 0
		if err := d.Each(block[1], func(raw []byte, _ *Frame, err error) {
			if frames++; err != nil || d.Unknown {
				t.Errorf("error %v, unknown %v in\n%s", err, d.Unknown, raw)
			}
		}); err != nil || frames == 0 {
			t.Errorf("error %v, %d frames in\n%s", err, frames, block[1])
		}
	}
	for _, file := range examples {
		t.Errorf("%s is not in README.md", file)
	}
}

// TestReadmeCommand decodes what the command in README.md would publish.
func TestReadmeCommand(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	message := regexp.MustCompile(`(?m)^mosquitto_pub .* -t iot-frames -m '(.*)'$`).FindSubmatch(readme)
	if message == nil {
		t.Fatal("no command")
	}
	data := bytes.Replace(message[1], []byte(`'$(date +%s%3N)'`), []byte("1763870400123"), 1)
	var d Decoder
	var got Frame
	if err := d.Decode(data, &got); err != nil {
		t.Fatal(err)
	}
	want := Frame{ID: "kitchen", Timestamp: 1763870400123, Payload: measured(21_500_000)}
	if diff := cmp.Diff(want, got, comparePayloads); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestReadmeReasons finds every reason of the decoder in README.md's table.
func TestReadmeReasons(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("errors.go")
	if err != nil {
		t.Fatal(err)
	}
	constants := regexp.MustCompile(`Reason\w+ += "(\w+)"`).FindAllSubmatch(source, -1)
	if len(constants) < 14 {
		t.Errorf("%d reasons in errors.go", len(constants))
	}
	for _, reason := range constants {
		if !regexp.MustCompile("(?m)^\\|.*`" + string(reason[1]) + "`.*\\|.*\\|$").Match(readme) {
			t.Errorf("%s is not in README.md", reason[1])
		}
	}
}
