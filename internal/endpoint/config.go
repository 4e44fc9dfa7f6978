package endpoint

// Config is all that an endpoint can be told. It is comparable.
type Config struct {
	Listen string // HOST:PORT; HOST may be empty
}
