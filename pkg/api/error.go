package api

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/virtsmith/virtsmith/pkg/schema"
)

// Error is a failure whose meaning for the caller is known.
type Error struct {
	Status  int           // the HTTP status
	Message string        // one or more lines, without the newline at the end
	Params  schema.Faults // what is wrong with which parameter
}

// Error gives the text as upstream's commands print it: the message after its
// status, then a line for each parameter.
func (e *Error) Error() string {
	text := strconv.Itoa(e.Status) + " " + e.Message
	if len(e.Params) > 0 {
		text += "\n" + e.Params.Error()
	}
	return text
}

// ParamError tells what is wrong with parameters.
func ParamError(faults schema.Faults) *Error {
	return &Error{Status: http.StatusBadRequest, Message: "Parameter verification failed.", Params: faults}
}

// BadParam tells what is wrong with one parameter.
func BadParam(name, format string, args ...any) *Error {
	return ParamError(schema.Faults{name: fmt.Sprintf(format, args...)})
}
