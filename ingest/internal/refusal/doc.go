// Package refusal is what happens when a server will not serve this client: it
// does not take the credentials, does not allow the user what was asked for, or
// is not the server that it should be. Waiting does not mend that; a person
// does, at the server, and meanwhile every part of the process that needs the
// server meets the same. A [Log] says it once for all of them, and once when it
// is over.
package refusal
