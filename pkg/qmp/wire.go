package qmp

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// message is anything the other side may send; which it is, the fields tell.
type message struct {
	QMP       *Greeting       `json:"QMP"`
	ID        *uint64         `json:"id"`
	Return    json.RawMessage `json:"return"`
	Error     *Error          `json:"error"`
	Event     string          `json:"event"`
	Data      json.RawMessage `json:"data"`
	Timestamp timestamp       `json:"timestamp"`
}

// Greeting is how QEMU introduces itself.
type Greeting struct {
	Version struct {
		QEMU struct {
			Major int `json:"major"`
			Minor int `json:"minor"`
			Micro int `json:"micro"`
		} `json:"qemu"`
		Package string `json:"package"`
	} `json:"version"`
	Capabilities []string `json:"capabilities"`
}

type timestamp struct {
	Seconds      int64 `json:"seconds"`
	Microseconds int64 `json:"microseconds"`
}

func (t timestamp) time() time.Time { return time.Unix(t.Seconds, t.Microseconds*1000) }

var errEmpty = errors.New("message says nothing")

// decode reads one line of the protocol.
func decode(line []byte) (message, error) {
	var m message
	if err := json.Unmarshal(line, &m); err != nil {
		return message{}, fmt.Errorf("read message: %w", err)
	}
	if m.QMP == nil && m.Error == nil && m.Event == "" && m.Return == nil {
		return message{}, fmt.Errorf("read message: %w", errEmpty)
	}
	return m, nil
}

type request struct {
	Execute   string  `json:"execute"`
	Arguments any     `json:"arguments,omitempty"`
	ID        *uint64 `json:"id,omitempty"`
}

// encode writes one line of the protocol.
func encode(r request) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	// Nothing but QEMU reads this: <, > and & stay as they are.
	e.SetEscapeHTML(false)
	if err := e.Encode(r); err != nil {
		return nil, fmt.Errorf("write arguments: %w", err)
	}
	return b.Bytes(), nil
}

// lines reads lines of any length up to a bound, each in memory of its own.
type lines struct {
	r   *bufio.Reader
	max int
}

func newLines(r io.Reader, limit int) *lines {
	return &lines{r: bufio.NewReaderSize(r, 64<<10), max: limit}
}

// next returns the next line that is not blank, without its end.
func (l *lines) next() ([]byte, error) {
	for {
		var line []byte
		for {
			part, err := l.r.ReadSlice('\n')
			line = append(line, part...)
			if len(line) > l.max {
				return nil, fmt.Errorf("message is longer than %d bytes", l.max)
			}
			if errors.Is(err, bufio.ErrBufferFull) {
				continue
			}
			if err != nil {
				return nil, err
			}
			break
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			return line, nil
		}
	}
}
