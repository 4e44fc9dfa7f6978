// Poll asks for a URL again and again and prints what it gets, a form feed behind
// each answer. It is how a test sees the metrics of an agent in a virtual machine.
//
//	poll URL INTERVAL
package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "poll:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	if len(args) != 2 {
		return errors.New("want URL INTERVAL")
	}
	interval, err := time.ParseDuration(args[1])
	if err != nil {
		return err
	}
	for range time.Tick(interval) {
		body, err := get(args[0])
		if err != nil {
			continue // it does not listen yet, or any more
		}
		if _, err := out.Write(append(body, '\f')); err != nil {
			return err
		}
	}
	return nil
}

func get(url string) ([]byte, error) {
	client := &http.Client{Timeout: 10 * time.Second}
	response, err := client.Get(url) //nolint:noctx // it has a deadline
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, errors.New(response.Status)
	}
	return io.ReadAll(response.Body)
}
