// A mail server for the tests, made of go-smtp, which others run in production. It insists on STARTTLS and AUTH, keeps
// to what a recipient's name asks for, and tells on its standard output what it took, a line of JSON a message. It ends
// with its standard input.
//
//	anybody@…  is delivered to
//	nobody@…   does not exist (550)
//	busy-N@…   is turned away N times (451), then delivered to
//	gone-N@…   cuts the connection in the middle of DATA N times, then is delivered to
//	late-N@…   is delivered to and cut off before the answer N times, then delivered to
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

const user, password = "harmony", "hunter2-of-mail"

var (
	lock  sync.Mutex
	tries = map[string]int{}
)

// Whether this is still one of the first N times that a name such as busy-2 is met.
func early(kind, recipient string) bool {
	local, _, _ := strings.Cut(recipient, "@")
	rest, found := strings.CutPrefix(local, kind+"-")
	times, err := strconv.Atoi(rest)
	if !found || err != nil {
		return false
	}
	lock.Lock()
	defer lock.Unlock()
	tries[recipient]++
	return tries[recipient] <= times
}

func tell(line any) {
	lock.Lock()
	defer lock.Unlock()
	_ = json.NewEncoder(os.Stdout).Encode(line)
}

type backend struct{}

func (backend) NewSession(connection *smtp.Conn) (smtp.Session, error) {
	return &session{connection: connection}, nil
}

type session struct {
	connection *smtp.Conn
	user, from string
	to         []string
}

func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, name, given string) error {
		if name != user || given != password {
			return &smtp.SMTPError{Code: 535, EnhancedCode: smtp.EnhancedCode{5, 7, 8}, Message: "credentials are not accepted"}
		}
		s.user = name
		return nil
	}), nil
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	if s.user == "" {
		return &smtp.SMTPError{Code: 530, EnhancedCode: smtp.EnhancedCode{5, 7, 0}, Message: "authenticate first"}
	}
	s.from = from
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	if strings.HasPrefix(to, "nobody@") {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such user here"}
	}
	if early("busy", to) {
		return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 7, 1}, Message: "greylisted, come back later"}
	}
	s.to = append(s.to, to)
	return nil
}

func (s *session) Data(reader io.Reader) error {
	if early("gone", s.to[0]) {
		_, _ = reader.Read(make([]byte, 16))
		_ = s.connection.Conn().Close()
		return errors.New("gone")
	}
	message, err := io.ReadAll(reader)
	if err != nil {
		return err
	}
	_, encrypted := s.connection.TLSConnectionState()
	tell(map[string]any{"from": s.from, "to": s.to, "message": string(message), "tls": encrypted, "user": s.user})
	if early("late", s.to[0]) {
		_ = s.connection.Conn().Close()
	}
	return nil
}

func (s *session) Reset()        { s.from, s.to = "", nil }
func (s *session) Logout() error { return nil }

// A certificate for this machine, and its authority's as PEM.
func certificate() (tls.Certificate, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail of the tests"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	root, err := x509.CreateCertificate(rand.Reader, authority, authority, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	leafKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		DNSNames: []string{"localhost"}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	signed, err := x509.CreateCertificate(rand.Reader, leaf, authority, &leafKey.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	pair := tls.Certificate{Certificate: [][]byte{signed}, PrivateKey: leafKey}
	return pair, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root}), nil
}

func run() error {
	pair, root, err := certificate()
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := smtp.NewServer(backend{})
	server.Domain = "localhost"
	server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}}
	// No AUTH before STARTTLS.
	server.AllowInsecureAuth = false
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	tell(map[string]any{"port": listener.Addr().(*net.TCPAddr).Port, "root": string(root)})
	return server.Serve(listener)
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
