//go:build integration

package e2e

import (
	"cmp"
	"context"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha512"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/telltale-iot/telltale/internal/await"
)

const ingestUser = "telltale-ingest"

// secured is ingest with all roles between real servers that want TLS and
// credentials: Mosquitto, Kafka, a MongoDB server and Prometheus.
type secured struct {
	t         *testing.T
	servers   *servers
	authority *authority
	dir       string // of the test's own files
	secrets   string // folder of the servers' passwords
	database  string

	kafka, mongo, prometheus *gate  // which ingest goes through
	brokers                  string // where the brokers, and their administrator, meet
	flags                    map[string]string
	ingest                   *program
}

// securePort is the port of a server that deploy/local/servers starts.
func securePort(variable, otherwise string) string { return cmp.Or(os.Getenv(variable), otherwise) }

// startSecured starts the servers, and not ingest. The devices have certificates.
func startSecured(t *testing.T, devices ...string) *secured {
	t.Helper()
	s := &secured{t: t, authority: newAuthority(t, devices...), dir: t.TempDir(), database: "iot"}
	s.authority.pki("renew", "server", "localhost", "127.0.0.1")
	t.Setenv("TELLTALE_PKI", s.authority.dir)
	s.servers = startServers(t, "kafka-secure", "mongo-secure", "prometheus-secure")
	startMosquitto(t, s.authority, nil)
	var err error
	if s.secrets, err = filepath.Abs(filepath.Join(root, ".cache", "e2e", "secrets")); err != nil {
		t.Fatal(err)
	}
	clients := securePort("KAFKA_SECURE_PORT", "29293")
	s.kafka = newGate(t, "127.0.0.1:"+clients)
	s.mongo = newGate(t, "127.0.0.1:"+securePort("MONGO_SECURE_PORT", "27217"))
	s.prometheus = newGate(t, "127.0.0.1:"+securePort("PROMETHEUS_SECURE_PORT", "29390"))
	s.brokers = "127.0.0.1:" + portAfter(t, clients, 1)
	ca := s.authority.path("ca.crt")
	overwrite(t, filepath.Join(s.dir, "mongo.uri"), []byte(s.mongoURI(s.mongo.addr, ingestUser, s.secret("ingest"), ca)))
	s.flags = map[string]string{
		"mqtt-url": servicesURL, "mqtt-tls-ca-file": ca,
		"mqtt-tls-cert-file": s.authority.path("client", ingestUser+".crt"), "mqtt-tls-key-file": s.authority.path("client", ingestUser+".key"),
		"kafka-brokers": "[" + s.kafka.addr + "]", "kafka-tls-enabled": "true", "kafka-tls-ca-file": ca, "kafka-partitions": "4",
		"kafka-sasl-mechanism": "SCRAM-SHA-512", "kafka-sasl-username": ingestUser, "kafka-sasl-password-file": filepath.Join(s.secrets, "kafka.password"),
		"mongo-uri-file": filepath.Join(s.dir, "mongo.uri"), "mongo-database": s.database,
		"metrics-listen": metricsAddr, "metrics-auth-bearer-token-file": filepath.Join(s.secrets, "scrape.password"),
		"metrics-tls-cert-file": s.authority.path("server", "localhost.crt"), "metrics-tls-key-file": s.authority.path("server", "localhost.key"),
		"metrics-remote-write-url": "https://" + s.prometheus.addr + "/api/v1/write", "metrics-remote-write-tls-ca-file": ca,
		"metrics-remote-write-username": ingestUser, "metrics-remote-write-password-file": filepath.Join(s.secrets, "prometheus.password"),
		"aggregate-window": window.String(), "aggregate-idle": "3s", "metrics-time-series": "true", "log-level": "debug",
	}
	return s
}

func portAfter(t testing.TB, port string, n int) string {
	t.Helper()
	number, err := net.LookupPort("tcp", port)
	if err != nil {
		t.Fatal(err)
	}
	_, after, err := net.SplitHostPort((&net.TCPAddr{Port: number + n}).String())
	if err != nil {
		t.Fatal(err)
	}
	return after
}

// secret returns one of the servers' passwords.
func (s *secured) secret(name string) string {
	s.t.Helper()
	return string(contentOf(s.t, filepath.Join(s.secrets, name+".password")))
}

func (s *secured) mongoURI(addr, user, password, ca string) string {
	return "mongodb://" + user + ":" + url.QueryEscape(password) + "@" + addr + "/?authSource=admin&directConnection=true&tls=true&tlsCAFile=" + url.QueryEscape(ca)
}

// start starts ingest with some of its flags changed.
func (s *secured) start(changed map[string]string) {
	s.t.Helper()
	all := maps.Clone(s.flags)
	maps.Copy(all, changed)
	args := []string{"run"}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		args = append(args, "--"+name+"="+all[name])
	}
	if s.ingest == nil {
		s.ingest = start(s.t, "telltale-ingest", args...)
		return
	}
	s.ingest.args = args
	s.ingest.spawn()
}

// stop ends ingest in good order.
func (s *secured) stop() {
	s.t.Helper()
	s.ingest.signal(syscall.SIGTERM)
	if err := s.ingest.wait(time.Minute); err != nil {
		s.t.Fatalf("ingest ended with %v", err)
	}
}

// get asks ingest's endpoint as Prometheus does.
func (s *secured) get(path string) (status int, body string) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "https://"+metricsAddr+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+s.secret("scrape"))
	return s.do(request)
}

// query asks Prometheus, and returns the body of its answer.
func (s *secured) query(expression string) string {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "https://"+s.prometheus.target+"/api/v1/query?query="+url.QueryEscape(expression), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	request.SetBasicAuth(ingestUser, s.secret("prometheus"))
	_, body := s.do(request)
	return body
}

// do makes a request over TLS; the status is 0 if there is no answer.
func (s *secured) do(request *http.Request) (status int, body string) {
	s.t.Helper()
	transport := &http.Transport{TLSClientConfig: s.authority.client("", "")}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport, Timeout: 30 * time.Second}).Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(text)
}

// ready waits until ingest says that it can do its work.
func (s *secured) ready() {
	s.t.Helper()
	await.True(s.t, 3*time.Minute, "ingest is ready", func() bool {
		status, _ := s.get("/readyz")
		return status == http.StatusOK
	})
}

// admin returns a client of Kafka's that may do everything.
func (s *secured) admin() *kafka.Client {
	transport := &kafka.Transport{TLS: s.authority.client("", ""), SASL: plain.Mechanism{Username: "broker", Password: s.secret("broker")}}
	s.t.Cleanup(transport.CloseIdleConnections)
	return &kafka.Client{Addr: kafka.TCP(s.brokers), Transport: transport}
}

// dialer returns what a client of Kafka's connects with.
func (s *secured) dialer(mechanism sasl.Mechanism) *kafka.Dialer {
	return &kafka.Dialer{Timeout: 30 * time.Second, TLS: s.authority.client("", ""), SASLMechanism: mechanism}
}

// setKafkaPassword makes it the password of ingest's user; "" removes the user's
// credential.
func (s *secured) setKafkaPassword(password string) {
	s.t.Helper()
	request := &kafka.AlterUserScramCredentialsRequest{}
	if password == "" {
		request.Deletions = []kafka.UserScramCredentialsDeletion{{Name: ingestUser, Mechanism: kafka.ScramMechanismSha512}}
	} else {
		salt := []byte(rand.Text())
		salted, err := pbkdf2.Key(sha512.New, password, salt, 8192, sha512.Size)
		if err != nil {
			s.t.Fatal(err)
		}
		request.Upsertions = []kafka.UserScramCredentialsUpsertion{
			{Name: ingestUser, Mechanism: kafka.ScramMechanismSha512, Iterations: 8192, Salt: salt, SaltedPassword: salted},
		}
	}
	response, err := s.admin().AlterUserScramCredentials(s.t.Context(), request)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, result := range response.Results {
		if result.Error != nil {
			s.t.Fatal(result.Error)
		}
	}
}

// forbid takes one right of ingest's user away, and returns what gives it back.
func (s *secured) forbid(resource kafka.ResourceType, name string, operation kafka.ACLOperationType) (allow func()) {
	s.t.Helper()
	entry := kafka.ACLEntry{
		ResourceType: resource, ResourceName: name, ResourcePatternType: kafka.PatternTypeLiteral,
		Principal: "User:" + ingestUser, Host: "*", Operation: operation, PermissionType: kafka.ACLPermissionTypeAllow,
	}
	deleted, err := s.admin().DeleteACLs(s.t.Context(), &kafka.DeleteACLsRequest{Filters: []kafka.DeleteACLsFilter{{
		ResourceTypeFilter: resource, ResourceNameFilter: name, ResourcePatternTypeFilter: kafka.PatternTypeLiteral,
		PrincipalFilter: entry.Principal, HostFilter: "*", Operation: operation, PermissionType: kafka.ACLPermissionTypeAllow,
	}}})
	if err != nil || len(deleted.Results) != 1 || deleted.Results[0].Error != nil || len(deleted.Results[0].MatchingACLs) != 1 {
		s.t.Fatalf("ACL of %s: %+v, %v", name, deleted, err)
	}
	return func() {
		s.t.Helper()
		created, err := s.admin().CreateACLs(s.t.Context(), &kafka.CreateACLsRequest{ACLs: []kafka.ACLEntry{entry}})
		if err := errors.Join(append(created.Errors, err)...); err != nil {
			s.t.Fatal(err)
		}
	}
}

// onMongo does something as the database's administrator.
func (s *secured) onMongo(use func(context.Context, *mongo.Client) error) {
	s.t.Helper()
	client, err := mongo.Connect(options.Client().ApplyURI(s.mongoURI(s.mongo.target, "root", s.secret("root"), s.authority.path("ca.crt"))))
	if err != nil {
		s.t.Fatal(err)
	}
	defer client.Disconnect(context.WithoutCancel(s.t.Context()))
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	if err := use(ctx, client); err != nil {
		s.t.Fatal(err)
	}
}

// setMongo changes ingest's user.
func (s *secured) setMongo(change bson.E) {
	s.t.Helper()
	s.onMongo(func(ctx context.Context, c *mongo.Client) error {
		return c.Database("admin").RunCommand(ctx, bson.D{{Key: "updateUser", Value: ingestUser}, change}).Err()
	})
}

// setFramesActions changes what ingest's role may do with frames.
func (s *secured) setFramesActions(actions ...string) {
	s.t.Helper()
	s.onMongo(func(ctx context.Context, c *mongo.Client) error {
		admin := c.Database("admin")
		var info struct {
			Roles []struct{ Privileges bson.A }
		}
		if err := admin.RunCommand(ctx, bson.D{{Key: "rolesInfo", Value: "telltaleIngest"}, {Key: "showPrivileges", Value: true}}).Decode(&info); err != nil {
			return err
		}
		privileges := bson.A{bson.D{
			{Key: "resource", Value: bson.D{{Key: "db", Value: s.database}, {Key: "collection", Value: "iot_frames"}}}, {Key: "actions", Value: actions},
		}}
		for _, privilege := range info.Roles[0].Privileges {
			text, err := bson.MarshalExtJSON(privilege, false, false)
			if err != nil {
				return err
			}
			if !strings.Contains(string(text), `"iot_frames"`) {
				privileges = append(privileges, privilege)
			}
		}
		return admin.RunCommand(ctx, bson.D{{Key: "updateRole", Value: "telltaleIngest"}, {Key: "privileges", Value: privileges}}).Err()
	})
}

// stored returns how many readings MongoDB has.
func (s *secured) stored() (n int) {
	s.t.Helper()
	s.onMongo(func(ctx context.Context, c *mongo.Client) error {
		count, err := c.Database(s.database).Collection("iot_frames").CountDocuments(ctx, bson.D{})
		n = int(count)
		return err
	})
	return n
}

// gate passes connections on to a server, and counts them.
type gate struct {
	addr, target string
	passed       atomic.Int64
}

func newGate(t testing.TB, target string) *gate {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return newGateOn(t, listener, target)
}

// newGateOn is newGate with the listener to be used.
func newGateOn(t testing.TB, listener net.Listener, target string) *gate {
	t.Helper()
	g := &gate{addr: listener.Addr().String(), target: target}
	var running sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	running.Go(func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			g.passed.Add(1)
			running.Go(func() { g.pass(ctx, from) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		cancel()
		running.Wait()
	})
	return g
}

// pass copies in both directions until one of them, or ctx, ends.
func (g *gate) pass(ctx context.Context, from net.Conn) {
	defer from.Close()
	to, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "tcp", g.target)
	if err != nil {
		return
	}
	defer to.Close()
	stop := context.AfterFunc(ctx, func() { from.Close(); to.Close() })
	defer stop()
	var both sync.WaitGroup
	for _, pair := range [][2]net.Conn{{from, to}, {to, from}} {
		both.Go(func() {
			_, _ = io.Copy(pair[1], pair[0]) // how a connection ends is the ends' affair
			pair[0].Close()
			pair[1].Close()
		})
	}
	both.Wait()
}

// logged returns the lines of a level that ingest has said after an offset.
func (s *secured) logged(offset int, level string) (lines []string) {
	for line := range strings.Lines(s.ingest.output.String()[offset:]) {
		if strings.Contains(line, " level="+level+" ") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// tlsWithout returns a TLS that trusts another authority than the servers'.
func tlsWithout(t testing.TB) (ca string) {
	t.Helper()
	other := &authority{t, filepath.Join(t.TempDir(), "other")}
	other.pki("ca", "another authority")
	return other.path("ca.crt")
}
