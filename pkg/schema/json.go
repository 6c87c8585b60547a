package schema

import (
	"bytes"
	"encoding/json"
	"reflect"
)

// JSON is a result that comes from elsewhere ready made, and is passed on as it is.
type JSON json.RawMessage

// MarshalJSON returns j as it is.
func (j JSON) MarshalJSON() ([]byte, error) { return json.RawMessage(j).MarshalJSON() }

func (JSON) shape() reflect.Type { return reflect.TypeFor[any]() }

// plain decodes j; numbers stay as they are written, true and false too.
func (j JSON) plain() any {
	dec := json.NewDecoder(bytes.NewReader(j))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil {
		return nil
	}
	return v
}

var _ shaped = JSON(nil)

// JSONOf is a value of plain data ready made.
func JSONOf(v any) JSON {
	raw, err := json.Marshal(v)
	if err != nil {
		return JSON("null")
	}
	return raw
}
