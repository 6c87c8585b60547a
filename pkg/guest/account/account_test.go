package account

import (
	"strings"
	"testing"
)

func TestHashPassword(t *testing.T) {
	got, err := HashPassword("secret", strings.NewReader("&'()*+,-"))
	if err != nil {
		t.Fatal(err)
	}
	if !IsHashed(got) || len(got) != 3+8+1+43 {
		t.Errorf("got %q", got)
	}
	again, err := HashPassword(got, nil)
	if err != nil || again != got {
		t.Errorf("a hash became %q, %v", again, err)
	}
	if _, err := HashPassword("secret", strings.NewReader("short")); err == nil {
		t.Error("no salt, no error")
	}
	for text, want := range map[string]bool{"$6$a$b": true, "$2y$05$abc": true, "$9$a$b": false, "$5$a": false, "secret": false} {
		if IsHashed(text) != want {
			t.Errorf("IsHashed(%q) is wrong", text)
		}
	}
}

func TestCheckSSHKeys(t *testing.T) {
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBMXTg1VQn7QkM2SW9+CG1FG7VtvXvK9bKqqDp7L6DrY"
	for name, c := range map[string]struct {
		text string
		ok   bool
	}{
		"nothing":      {"", true},
		"one":          {key + " me@laptop\n", true},
		"with options": {"no-pty,command=\"/bin/sh\" " + key + "\n\n# note\n", true},
		"other type":   {strings.Replace(key, "ed25519 ", "rsa ", 1), false},
		"no key":       {"hello", false},
		"second":       {key + "\nssh-rsa AAAA", false},
	} {
		t.Run(name, func(t *testing.T) {
			if err := CheckSSHKeys(c.text); (err == nil) != c.ok {
				t.Errorf("got %v", err)
			}
		})
	}
}

func FuzzCheckSSHKeys(f *testing.F) {
	f.Add("ssh-rsa AAAA\n\x00")
	f.Fuzz(func(_ *testing.T, text string) { _ = CheckSSHKeys(text) })
}
