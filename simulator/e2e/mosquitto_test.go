//go:build integration

package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/telltale-iot/telltale/internal/await"
)

// The listeners of deploy/mosquitto, on ports of the tests.
const (
	devicesURL  = "tls://localhost:28883"
	servicesURL = "tls://localhost:28884"
	seedURL     = "tcp://127.0.0.1:28885"
)

// authority is a certificate authority that deploy/pki/pki keeps.
type authority struct {
	t   testing.TB
	dir string
}

// newAuthority makes an authority, with certificates for a broker on the
// loopback, for ingest and for the devices.
func newAuthority(t testing.TB, devices ...string) *authority {
	t.Helper()
	a := &authority{t, filepath.Join(t.TempDir(), "pki")}
	a.pki("ca")
	a.pki("server", "localhost")
	a.pki("client", "telltale-ingest")
	for _, device := range devices {
		a.pki("device", device)
	}
	return a
}

// pki runs a command of deploy/pki/pki.
func (a *authority) pki(args ...string) {
	a.t.Helper()
	command := exec.Command(filepath.Join(root, "deploy/pki/pki"), append(args, "--dir", a.dir)...)
	if out, err := command.CombinedOutput(); err != nil {
		a.t.Fatalf("pki %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// path returns a file of the authority.
func (a *authority) path(elements ...string) string {
	return filepath.Join(append([]string{a.dir}, elements...)...)
}

// client returns the TLS of a client that has the certificate of that kind and
// name, or none if the name is empty.
func (a *authority) client(kind, name string) *tls.Config {
	a.t.Helper()
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
	pem, err := os.ReadFile(a.path("ca.crt"))
	if err != nil || !config.RootCAs.AppendCertsFromPEM(pem) {
		a.t.Fatalf("ca.crt: %v", err)
	}
	if name != "" {
		pair, err := tls.LoadX509KeyPair(a.path(kind, name+".crt"), a.path(kind, name+".key"))
		if err != nil {
			a.t.Fatal(err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config
}

// mosquitto is a broker with the files of deploy/mosquitto.
type mosquitto struct {
	*program
	dir       string
	authority *authority
	conf      string
}

// startMosquitto starts a broker whose clients' certificates are of the authority.
// What edit returns of its configuration is what it gets; nil leaves it as it is.
func startMosquitto(t testing.TB, a *authority, edit func(conf string) string) *mosquitto {
	t.Helper()
	b := &mosquitto{dir: t.TempDir(), authority: a}
	for _, dir := range []string{"certs", "lib"} {
		if err := os.Mkdir(filepath.Join(b.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var conf []byte
	for _, name := range []string{"mosquitto.conf", "seed.conf"} {
		conf = append(conf, contentOf(t, filepath.Join(root, "deploy/mosquitto", name))...)
	}
	text := string(conf)
	if edit != nil {
		text = edit(text)
	}
	text = strings.NewReplacer("/etc/mosquitto/", b.dir+"/", "/var/lib/mosquitto/", filepath.Join(b.dir, "lib")+"/",
		"listener 8883\n", "listener 28883 127.0.0.1\n", "listener 8884\n", "listener 28884 127.0.0.1\n", "listener 1883 127", "listener 28885 127").Replace(text)
	if strings.Contains(text, "/etc/") || strings.Contains(text, "/var/") {
		t.Fatalf("the configuration names files of this host:\n%s", text)
	}
	if os.Geteuid() == 0 { // it would become a user that cannot read the test's files
		text = strings.Replace(text, "per_listener_settings true\n", "per_listener_settings true\nuser root\n", 1)
	}
	b.conf = text
	overwrite(t, filepath.Join(b.dir, "mosquitto.conf"), []byte(text))
	for _, name := range []string{"devices.acl", "services.acl", "seed.acl"} {
		overwrite(t, filepath.Join(b.dir, name), contentOf(t, filepath.Join(root, "deploy/mosquitto", name)))
	}
	b.install()
	path, err := exec.LookPath("mosquitto")
	if err != nil {
		path = "/usr/sbin/mosquitto"
	}
	b.program = launch(t, path, "-c", filepath.Join(b.dir, "mosquitto.conf"))
	b.listening()
	return b
}

// install copies the authority's files to where the broker reads them.
func (b *mosquitto) install() {
	b.authority.t.Helper()
	for from, to := range map[string]string{
		"ca.crt": "ca.crt", "ca.crl": "ca.crl", "server/localhost.crt": "server.crt", "server/localhost.key": "server.key",
		"client/site-1.crt": "site.crt", "client/site-1.key": "site.key",
	} {
		data, err := os.ReadFile(b.authority.path(from))
		if errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(from, "client/") {
			continue // the authority of no bridge
		}
		if err != nil {
			b.authority.t.Fatal(err)
		}
		overwrite(b.authority.t, filepath.Join(b.dir, "certs", to), data)
	}
}

var listener = regexp.MustCompile(`(?m)^listener (\d+) 127\.0\.0\.1$`)

// listening waits until the broker does.
func (b *mosquitto) listening() {
	b.t.Helper()
	await.True(b.t, time.Minute, "Mosquitto listens", func() bool {
		select {
		case <-b.exited:
			b.t.Fatalf("Mosquitto ended: %v", b.err)
		default:
		}
		for _, match := range listener.FindAllStringSubmatch(b.conf, -1) {
			conn, err := net.Dial("tcp", "127.0.0.1:"+match[1])
			if err != nil {
				return false
			}
			conn.Close()
		}
		return true
	})
}

// reload has the broker read its files anew.
func (b *mosquitto) reload() { b.signal(syscall.SIGHUP) }

// restart ends the broker in good order and starts it again.
func (b *mosquitto) restart() {
	b.t.Helper()
	b.signal(syscall.SIGTERM)
	if err := b.wait(time.Minute); err != nil {
		b.t.Fatalf("Mosquitto ended with %v", err)
	}
	b.spawn()
	b.listening()
}

// dialMQTT connects once. The client is disconnected in the end.
func dialMQTT(t testing.TB, url string, config *tls.Config, options ...func(*paho.ClientOptions)) (paho.Client, error) {
	t.Helper()
	o := paho.NewClientOptions().AddBroker(url).SetTLSConfig(config).SetClientID("test").SetAutoReconnect(false).SetConnectTimeout(20 * time.Second).
		SetProtocolVersion(4) // else Paho tries version 3.1 after each refusal
	for _, option := range options {
		option(o)
	}
	client := paho.NewClient(o)
	token := client.Connect()
	if !token.WaitTimeout(30 * time.Second) {
		return nil, errors.New("no answer to CONNECT")
	}
	if err := token.Error(); err != nil {
		return nil, err
	}
	t.Cleanup(func() { client.Disconnect(0) })
	return client, nil
}

// mustDialMQTT is dialMQTT for a client that must be let in.
func mustDialMQTT(t testing.TB, url string, config *tls.Config, options ...func(*paho.ClientOptions)) paho.Client {
	t.Helper()
	client, err := dialMQTT(t, url, config, options...)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// publishTo publishes at QoS 1 and waits for the acknowledgement.
func publishTo(t testing.TB, client paho.Client, topic, payload string, retained bool) {
	t.Helper()
	token := client.Publish(topic, 1, retained, payload)
	if !token.WaitTimeout(30*time.Second) || token.Error() != nil {
		t.Fatalf("publish to %s: %v", topic, token.Error())
	}
}

// subscribeTo subscribes to the filters and returns what comes, as "topic payload".
func subscribeTo(t testing.TB, client paho.Client, filters ...string) <-chan string {
	t.Helper()
	messages := make(chan string, 1000)
	for _, filter := range filters {
		token := client.Subscribe(filter, 1, func(_ paho.Client, m paho.Message) { messages <- m.Topic() + " " + string(m.Payload()) })
		if !token.WaitTimeout(30*time.Second) || token.Error() != nil {
			t.Fatalf("subscribe to %s: %v", filter, token.Error())
		}
	}
	return messages
}

// messagesUntil returns what comes up to the marker, which is not among it.
func messagesUntil(t testing.TB, messages <-chan string, marker string) (before []string) {
	t.Helper()
	for timeout := time.After(time.Minute); ; {
		select {
		case m := <-messages:
			if m == marker {
				return before
			}
			before = append(before, m)
		case <-timeout:
			t.Fatalf("%q has not come, but %q", marker, before)
		}
	}
}

func contentOf(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func overwrite(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// metricAt returns a metric of the process that serves its metrics there, by its
// name and labels as they are exposed; 0 if it has none, or does not answer.
func metricAt(t testing.TB, addr, name string) float64 {
	t.Helper()
	response, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return 0
	}
	match := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\S+)$`).FindSubmatch(body)
	if match == nil {
		return 0
	}
	value, err := strconv.ParseFloat(string(match[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return value
}
