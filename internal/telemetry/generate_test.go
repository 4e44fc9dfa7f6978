package telemetry

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestDecodeAgreesWithReference does what FuzzDecode does, with frames and what
// is nearly one, which a fuzzer seldom finds.
func TestDecodeAgreesWithReference(t *testing.T) {
	var d Decoder
	frames := nearlyFrames()
	rapid.Check(t, func(t *rapid.T) { checkDecode(t, &d, []byte(frames.Draw(t, "frame"))) })
}

// nearlyFrames generates JSON texts that are frames about half of the time and
// else have a fault or two.
func nearlyFrames() *rapid.Generator[string] {
	counter := usually(oneOf("0", "-0", "3", "4", "9007199254740991"), oneOf("-1", "9007199254740992", "1e3", "7.0", "null", `"3"`))
	number := usually(
		rapid.StringMatching(`-?(0|[1-9][0-9]{0,8})(\.[0-9]{1,9})?([eE][+-]?0)?`),
		oneOf("null", "1e400", "-1e-400", "1000000000.0000005", "[]", `"1"`, "true", "NaN", "01"),
	)
	strange := oneOf(`""`, `"a/b"`, `"\ud83c"`, "\"\xff\"", "\"\n\"", `"\u0085"`, "null", "1", "{}",
		`"`+strings.Repeat("r", 33)+`"`, `"`+strings.Repeat("i", 129)+`"`, `"`+strings.Repeat("n", 257)+`"`)
	text := usually(rapid.Map(rapid.StringN(1, 20, -1), func(s string) string { return string(appendString(nil, s)) }), strange)
	id := usually(oneOf(`"a"`, `"b.c"`, `"\u00e9"`, `"\ud83c\udf31"`, "\"\u00e9\""), strange)
	reason := usually(oneOf(`"nack"`, `"not_ready"`, `"\u0069o"`), strange)
	measures := func(value *rapid.Generator[string]) *rapid.Generator[string] {
		return usually(object(members{
			"temperature": value, "humidity": value, "pressure": value, "luminosity": value, "co2": value,
		}), oneOf("null", "1", "[]"))
	}
	pair := usually(oneOf("[3,9]", "[0,0]", "[ 3 , 4 ]"), rapid.Custom(func(t *rapid.T) string {
		return "[" + strings.Join(rapid.SliceOfN(counter, 0, 3).Draw(t, "pair"), ",") + "]"
	}))
	unknown := usually(oneOf("1", `{"id":1,"id":[{}]}`, nested(15)), oneOf(nested(16), "nul", "\"\xff\""))
	reading := object(members{
		"id": id, "name": text, "place_id": text, "date": text, "epoch": counter, "seq": counter, "x": unknown,
		"timestamp": usually(oneOf("1763870400123", "-9223372036854775808"), oneOf("null", "9223372036854775808", "1e3", `"1"`)),
		"payload":   measures(number), "raw": measures(number), "faults": measures(reason),
	})
	loss := object(members{
		"id": id, "epoch": counter, "x": unknown,
		"seq":  usually(oneOf("null"), counter),
		"lost": usually(object(members{"seq": pair, "reason": reason, "at": number}), oneOf("null", "1")),
	})
	return rapid.OneOf(reading, loss)
}

func oneOf(values ...string) *rapid.Generator[string] { return rapid.SampledFrom(values) }

// usually generates a good value, and now and then another.
func usually(good, other *rapid.Generator[string]) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		if rapid.IntRange(0, 29).Draw(t, "which") == 29 {
			return other.Draw(t, "other")
		}
		return good.Draw(t, "good")
	})
}

type members map[string]*rapid.Generator[string]

// object generates objects that lack a member now and then, or have it twice.
func object(values members) *rapid.Generator[string] {
	keys := slices.Sorted(maps.Keys(values))
	return rapid.Custom(func(t *rapid.T) string {
		var texts []string
		for _, key := range rapid.Permutation(keys).Draw(t, "order") {
			for range usualCount.Draw(t, "count") {
				texts = append(texts, `"`+key+`":`+values[key].Draw(t, key))
			}
		}
		return "{" + strings.Join(texts, oneOf(",", ",", " ,\n").Draw(t, "comma")) + "}"
	})
}

var usualCount = rapid.Custom(func(t *rapid.T) int {
	switch rapid.IntRange(0, 49).Draw(t, "count") {
	case 49:
		return 2
	case 48, 47:
		return 0
	}
	return 1
})
