// Command roots writes the certificate authorities of Mozilla's programme, as
// golang.org/x/crypto/x509roots/fallback has them, to standard output: PEM, in
// the module's order. The version in go.mod decides what they are, and go.sum
// their bytes, so that every machine writes the same on every day.
//
// An authority that Mozilla trusts with a constraint, such as not for
// certificates issued after a day, is left out: a PEM file cannot say that.
package main

import (
	"bufio"
	"encoding/pem"
	"fmt"
	"io"
	"os"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

func main() {
	if err := run(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "roots:", err)
		os.Exit(1)
	}
}

func run(out io.Writer) error {
	w := bufio.NewWriter(out)
	for root := range bundle.Roots() {
		if root.Constraint != nil {
			continue
		}
		if err := pem.Encode(w, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}); err != nil {
			return err
		}
	}
	return w.Flush()
}
