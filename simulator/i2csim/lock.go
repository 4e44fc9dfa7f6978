package i2csim

// lock is a mutex for what may wait while it holds it. In a bubble of
// testing/synctest time stands still as long as someone waits for a
// sync.Mutex; who waits for a channel lets it go on.
type lock chan struct{}

func newLock() lock { return make(lock, 1) }

func (l lock) Lock()   { l <- struct{}{} }
func (l lock) Unlock() { <-l }
