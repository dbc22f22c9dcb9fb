package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// certificate writes a self-signed certificate for 127.0.0.1 and returns it.
func certificate(t *testing.T, certFile, keyFile string, serial int64) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	writeFile(t, keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// trusting is a client that trusts these certificates and keeps no connection.
func trusting(certs ...*x509.Certificate) *http.Client {
	pool := x509.NewCertPool()
	for _, c := range certs {
		pool.AddCert(c)
	}
	return &http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true,
	}}
}

var secureAddress = regexp.MustCompile(`https://127\.0\.0\.1:\d+`)

// A server with a certificate speaks TLS only, and takes a new one while it runs.
func TestTLS(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	certFile, keyFile := filepath.Join(h.cwd, "cert.pem"), filepath.Join(h.cwd, "key.pem")
	first := certificate(t, certFile, keyFile, 1)
	s := launch(t, h, "TLS_CERT_FILE="+certFile, "TLS_KEY_FILE="+keyFile, "API_KEYS=user:infer+read:"+keyOf("user"))
	s.client = trusting(first)
	waitFor(t, "the server's address", func() bool {
		s.url = secureAddress.FindString(s.stdout.String())
		return s.url != "" || s.gone()
	})
	waitFor(t, "health", func() bool {
		status, _, _, err := s.tryDo("GET", "/api/v1/health", nil)
		return err == nil && status == 200 || s.gone()
	})
	contentType, form := picture("0", smallPicture(t)).encode()
	status, _, body, err := s.tryDo("POST", "/api/v2/detect", form, "Content-Type: "+contentType, "Authorization: Bearer "+keyOf("user"))
	if err != nil || status != 200 || !strings.Contains(body, "class_id") {
		t.Errorf("detect over TLS: %d %s %v", status, body, err)
	}
	old := &tls.Config{RootCAs: s.client.Transport.(*http.Transport).TLSClientConfig.RootCAs, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	if c, err := tls.Dial("tcp", strings.TrimPrefix(s.url, "https://"), old); err == nil {
		c.Close()
		t.Error("TLS 1.1 is spoken")
	}
	res, err := http.Get("http" + strings.TrimPrefix(s.url, "https") + "/api/v1/health")
	if err == nil {
		res.Body.Close()
		if res.StatusCode != 400 {
			t.Errorf("plain HTTP is answered: %s", res.Status)
		}
	}
	serial := func() int64 {
		res, err := s.client.Get(s.url + "/api/v1/health")
		if err != nil {
			return 0
		}
		res.Body.Close()
		return res.TLS.PeerCertificates[0].SerialNumber.Int64()
	}
	second := certificate(t, certFile, keyFile, 222)
	s.client = trusting(first, second)
	waitFor(t, "the new certificate", func() bool { return serial() == 222 })
	writeFile(t, certFile, []byte("broken"))
	waitFor(t, "a word on the broken one", func() bool { return s.log.count("old one stays in force") > 0 })
	if n := serial(); n != 222 {
		t.Errorf("with a broken file the certificate is %d", n)
	}
}
