package analytics

import (
	"fmt"
	"strconv"
	"strings"
)

// Kind is a type's byte in the result stream; worker/stream.c has the same table.
type Kind uint8

// The kinds.
const (
	Null Kind = iota
	Boolean
	TinyInt
	SmallInt
	Integer
	BigInt
	HugeInt
	UTinyInt
	USmallInt
	UInteger
	UBigInt
	UHugeInt
	Float
	Double
	Decimal
	Varchar
	Blob
	Bit
	Date
	Time
	TimeNS
	TimeTZ
	Timestamp
	TimestampS
	TimestampMS
	TimestampNS
	TimestampTZ
	Interval
	UUID
	List
	Array
	Struct
	Map
	Union
)

var kindNames = [...]string{
	"NULL", "BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER",
	"UBIGINT", "UHUGEINT", "FLOAT", "DOUBLE", "DECIMAL", "VARCHAR", "BLOB", "BIT", "DATE", "TIME", "TIME_NS",
	"TIME WITH TIME ZONE", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMP WITH TIME ZONE",
	"INTERVAL", "UUID", "LIST", "ARRAY", "STRUCT", "MAP", "UNION",
}

// Type is a logical type of the result stream. An ENUM arrives as VARCHAR.
type Type struct {
	Kind         Kind
	Width, Scale uint8   // of Decimal
	Size         uint32  // of Array
	Fields       []Field // List and Array: one, Map: key and value, without names; Struct and Union: all
}

// Field is a named type: a column, a struct's field, a union's member.
type Field struct {
	Name string
	Type Type
}

// String spells the type as SQL does.
func (t Type) String() string {
	switch t.Kind {
	case Decimal:
		return fmt.Sprintf("DECIMAL(%d,%d)", t.Width, t.Scale)
	case List:
		return t.Fields[0].Type.String() + "[]"
	case Array:
		return t.Fields[0].Type.String() + "[" + strconv.Itoa(int(t.Size)) + "]"
	case Map:
		return "MAP(" + t.Fields[0].Type.String() + ", " + t.Fields[1].Type.String() + ")"
	case Struct, Union:
		var b strings.Builder
		b.WriteString(kindNames[t.Kind] + "(")
		for i, f := range t.Fields {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(`"` + strings.ReplaceAll(f.Name, `"`, `""`) + `" ` + f.Type.String())
		}
		return b.String() + ")"
	}
	if int(t.Kind) < len(kindNames) {
		return kindNames[t.Kind]
	}
	return fmt.Sprintf("KIND(%d)", t.Kind)
}
