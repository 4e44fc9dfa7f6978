// Package settings fills a program's configuration struct from its defaults, a
// YAML file, the environment and the command line, in that order, and says of
// everything that is wrong where it was written and what was expected.
//
// A configuration is a struct of structs with yaml tags, holding its defaults.
// The setting that the file calls mqtt.keep_alive is the flag --mqtt-keep-alive
// and the environment variable TELLTALE_MQTT_KEEP_ALIVE; nothing else names it.
// A setting may be a string, a bool, an integer, a [time.Duration], a [Size], a
// [Secret], a pointer to one of the first five (nil: not given), or a list of
// such values or of structs. The tags are:
//
//	yaml:"keep_alive"      its name
//	help:"..."             one line for --help
//	enum:"text,json"       the values that it may have (a list: its elements)
//	want:"..."             what a value of another type is told to be, if the type says too little
//	secret:"url"           a Secret that may be written down as long as it is a URL without a password
//
// Reading is strict: unknown and repeated keys, values of another type, numbers
// without their unit and several documents in one file are refused, all at
// once, as [Problems]. What a type cannot say a [Validator] says; its paths are
// traced to the line of the file, the flag or the variable that set them.
//
// YAML is parsed by github.com/goccy/go-yaml, whose syntax tree knows positions;
// this package only carries its nodes into the struct, because the decoder that
// comes with it stops at the first error and does not say where a value was
// that parsed but makes no sense.
//
// [TLS] and [Log] are groups that the programs have in common.
//
// A [Settings] is not for concurrent use.
package settings
