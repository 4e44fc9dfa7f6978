// The command draw makes pictures of dashboards from their JSON and from what
// Prometheus answered to their queries. They are not Grafana's: it draws what the
// panels have, in their places, so that a reader sees what they are of.
//
//	draw DASHBOARDS ANSWERS FOLDER
//
// ANSWERS is what the test of the dashboards writes to TELLTALE_DASHBOARD_ANSWERS.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/color/palette"
	"image/draw"
	"image/png"
	"os"
	"path/filepath"
	"strings"
)

// dashboard is what is drawn of a dashboard's JSON.
type dashboard struct {
	UID    string `json:"uid"`
	Title  string
	Panels []panel
}

type panel struct {
	ID          int `json:"id"`
	Type, Title string
	GridPos     struct{ X, Y, W, H int }
	Options     struct {
		Orientation string
	}
	FieldConfig struct {
		Defaults  field
		Overrides []struct {
			Matcher    struct{ Options string }
			Properties []struct {
				ID    string `json:"id"`
				Value json.RawMessage
			}
		}
	}
	Transformations []struct {
		ID      string `json:"id"`
		Options struct {
			IndexByName map[string]int `json:"indexByName"`
		}
	}
}

type field struct {
	Unit       string
	Decimals   *float64
	Min, Max   *float64
	Thresholds thresholds
	Mappings   []struct {
		Type    string
		Options map[string]struct{ Text, Color string }
	}
	Custom struct {
		Stacking struct{ Mode string }
	}
}

type thresholds struct {
	Steps []struct {
		Value *float64
		Color string
	}
}

// answers are the test's.
type answers struct {
	Start, End int64
	Answers    map[string]map[string][]answer
}

type answer struct {
	RefID  string `json:"refId"`
	Legend string
	Series []series
}

type series struct {
	Metric map[string]string
	Values [][2]float64
}

// name fills the legend in.
func (s *series) name(legend string) string {
	for label, value := range s.Metric {
		legend = strings.ReplaceAll(legend, "{{"+label+"}}", value)
	}
	return legend
}

func (s *series) last() float64 { return s.Values[len(s.Values)-1][1] }

func read(file string, to any) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, to); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

// write stores a picture with few colours, which is small.
func write(file string, picture image.Image) error {
	few := image.NewPaletted(picture.Bounds(), colours(picture))
	draw.Draw(few, few.Bounds(), picture, image.Point{}, draw.Src)
	var b bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	if err := encoder.Encode(&b, few); err != nil {
		return err
	}
	return os.WriteFile(file, b.Bytes(), 0o644)
}

// colours returns the 256 colours that a picture has most of.
func colours(picture image.Image) color.Palette {
	count := make(map[color.RGBA]int)
	bounds := picture.Bounds()
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			count[color.RGBAModel.Convert(picture.At(x, y)).(color.RGBA)]++
		}
	}
	most := make(color.Palette, 0, 256)
	for _, c := range byCount(count) {
		if len(most) == cap(most) {
			return most
		}
		most = append(most, c)
	}
	if len(most) == 0 {
		return palette.Plan9
	}
	return most
}

func run(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("want a folder of dashboards, a file of answers and a folder for the pictures, got %q", args)
	}
	var data answers
	if err := read(args[1], &data); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(args[0], "*.json"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("%d dashboards in %s: %w", len(files), args[0], err)
	}
	for _, file := range files {
		var d dashboard
		if err := read(file, &d); err != nil {
			return err
		}
		picture, err := paint(&d, &data)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		out := filepath.Join(args[2], strings.TrimSuffix(filepath.Base(file), ".json")+".png")
		if err := write(out, picture); err != nil {
			return err
		}
	}
	return nil
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "draw:", err)
		os.Exit(1)
	}
}
