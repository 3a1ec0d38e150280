package analytics

import (
	"fmt"
	"math"
	"math/big"
)

// fixedBytes is the length of a value of t in the stream.
func fixedBytes(t *Type) int {
	switch t.Kind {
	case Boolean, TinyInt, UTinyInt:
		return 1
	case SmallInt, USmallInt:
		return 2
	case Integer, UInteger, Float, Date:
		return 4
	case HugeInt, UHugeInt, Interval, UUID:
		return 16
	case TimeTZ:
		return 12
	case Decimal:
		switch {
		case t.Width <= 4:
			return 2
		case t.Width <= 9:
			return 4
		case t.Width <= 18:
			return 8
		}
		return 16
	}
	return 8
}

func fixedValue(t *Type, b []byte) (Value, error) {
	switch t.Kind {
	case Boolean:
		if b[0] > 1 {
			return nil, fmt.Errorf("%w: boolean %d", ErrStream, b[0])
		}
		return b[0] == 1, nil
	case TinyInt, SmallInt, Integer, BigInt:
		return signed(b), nil
	case UTinyInt, USmallInt, UInteger, UBigInt:
		return unsigned(b), nil
	case HugeInt:
		return bigInt(b), nil
	case UHugeInt:
		hi := new(big.Int).SetUint64(unsigned(b[8:]))
		return hi.Lsh(hi, 64).Or(hi, new(big.Int).SetUint64(unsigned(b[:8]))), nil
	case Float:
		f := math.Float32frombits(uint32(unsigned(b)))
		if f != f && unsigned(b) != 0x7fc00000 {
			return nil, fmt.Errorf("%w: a NaN in another spelling", ErrStream)
		}
		return f, nil
	case Double:
		f := math.Float64frombits(unsigned(b))
		if f != f && unsigned(b) != 0x7ff8000000000000 {
			return nil, fmt.Errorf("%w: a NaN in another spelling", ErrStream)
		}
		return f, nil
	case Decimal:
		if len(b) == 16 {
			return DecimalValue{bigInt(b)}, nil
		}
		return DecimalValue{big.NewInt(signed(b))}, nil
	case Date:
		return DateValue(signed(b)), nil
	case Time, TimeNS:
		return TimeValue{Ticks: signed(b)}, nil
	case TimeTZ:
		return TimeValue{Ticks: signed(b[:8]), Offset: int32(signed(b[8:]))}, nil
	case Timestamp, TimestampS, TimestampMS, TimestampNS, TimestampTZ:
		return TimestampValue(signed(b)), nil
	case Interval:
		return IntervalValue{int32(signed(b[:4])), int32(signed(b[4:8])), signed(b[8:])}, nil
	case UUID:
		return UUIDValue(b), nil
	}
	return nil, fmt.Errorf("%w: type %s", ErrStream, t)
}

func unsigned(b []byte) uint64 {
	var v uint64
	for i := len(b) - 1; i >= 0; i-- {
		v = v<<8 | uint64(b[i])
	}
	return v
}

func signed(b []byte) int64 {
	shift := 64 - 8*len(b)
	return int64(unsigned(b)<<shift) >> shift
}

func bigInt(b []byte) *big.Int {
	hi := big.NewInt(signed(b[8:]))
	return hi.Lsh(hi, 64).Add(hi, new(big.Int).SetUint64(unsigned(b[:8])))
}
