package storage

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
)

func TestParseInitiator(t *testing.T) {
	for text, want := range map[string]string{
		"## a comment\nInitiatorName=iqn.1993-08.org.debian:01:abc\n": "iqn.1993-08.org.debian:01:abc",
		"  InitiatorName =  iqn.a \nInitiatorName=iqn.b\n":            "iqn.a",
		"#InitiatorName=iqn.a\n":                                      "",
		"InitiatorAlias=x":                                            "",
		"":                                                            "",
	} {
		if got := parseInitiator(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestJoinPort(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.5": "192.0.2.5:3260", "192.0.2.5:860": "192.0.2.5:860", "san.example.org": "san.example.org:3260",
		"2001:db8::5": "[2001:db8::5]:3260", "[2001:db8::5]": "[2001:db8::5]:3260", "[2001:db8::5]:860": "[2001:db8::5]:860",
	} {
		if got := JoinPort(address, "3260"); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
}

func TestReach(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := Reach(t.Context(), address, "1"); err != nil {
		t.Error(err)
	}
	l.Close()
	if err := Reach(t.Context(), address, "1"); err == nil || err.Error() != "connect to "+address+": connect: connection refused" {
		t.Errorf("nobody there: %v", err)
	}
	ended := errors.New("ended")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(ended)
	if err := Reach(ctx, address, "1"); !errors.Is(err, ended) {
		t.Errorf("an ended context: %v", err)
	}
	if err := Reach(t.Context(), "no such host", "1"); err == nil || !strings.Contains(err.Error(), "connect to no such host:1: ") {
		t.Errorf("no host: %v", err)
	}
}
