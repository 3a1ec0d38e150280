package configs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
)

// MaxFileBytes bounds a configuration file.
const MaxFileBytes = 1 << 20

// Load reads the file at path, fills what it leaves out with defaults, applies the environment (BPI_LOG_LEVEL for level
// in [log], BPI_ROLE for role), makes paths absolute, and validates.
func Load(path string) (Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w; bpi init writes one", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, MaxFileBytes+1))
	if err != nil {
		return Config{}, fmt.Errorf("read configuration %s: %w", path, err)
	}
	c, err := Parse(raw)
	if err != nil {
		return Config{}, fmt.Errorf("configuration %s: %w", path, err)
	}
	if err := c.ApplyEnv(os.LookupEnv); err != nil {
		return Config{}, err
	}
	base, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return Config{}, fmt.Errorf("configuration %s: %w", path, err)
	}
	if err := c.Resolve(base); err != nil {
		return Config{}, err
	}
	if err := c.Validate(); err != nil {
		for _, k := range keys() { // not the file's fault
			if v, ok := os.LookupEnv(k.variable()); ok && strings.HasPrefix(err.Error(), k.name+":") && !strings.Contains(err.Error(), "\n") {
				return Config{}, fmt.Errorf("environment %s=%q: %w", k.variable(), v, err)
			}
		}
		return Config{}, fmt.Errorf("configuration %s: %w", path, err)
	}
	return c, nil
}

// lastKey is how the TOML library names the key whose value is of the wrong type.
var lastKey = regexp.MustCompile(` \(last key "([^"]*)"\): `)

// Parse reads TOML over the defaults, without environment, path resolution or validation. An unknown key is refused
// with its line and the nearest key there is.
func Parse(raw []byte) (Config, error) {
	if len(raw) > MaxFileBytes {
		return Config{}, fmt.Errorf("larger than %d bytes", MaxFileBytes)
	}
	c := Default()
	md, err := toml.Decode(string(raw), &c)
	if err != nil {
		var pe toml.ParseError
		if errors.As(err, &pe) {
			key := ""
			if pe.LastKey != "" {
				key = pe.LastKey + ": "
			}
			return Config{}, fmt.Errorf("line %d: %s%s", pe.Position.Line, key, strings.TrimPrefix(pe.Message, "toml: "))
		}
		return Config{}, errors.New(lastKey.ReplaceAllString(strings.TrimPrefix(err.Error(), "toml: "), ": $1: "))
	}
	if unknown := md.Undecoded(); len(unknown) > 0 {
		key := unknown[0].String()
		where := ""
		if line := lineOf(string(raw), key); line > 0 {
			where = fmt.Sprintf("line %d: ", line)
		}
		return Config{}, fmt.Errorf("%sunknown key %q; did you mean %q? The keys are listed by: bpi init --print-config", where, key, Nearest(key))
	}
	return c, nil
}

// ApplyEnv overrides keys by environment variables; lookup is os.LookupEnv. Lists are separated by commas.
func (c *Config) ApplyEnv(lookup func(string) (string, bool)) error {
	for _, k := range keys() {
		name := k.variable()
		v, ok := lookup(name)
		if !ok {
			continue
		}
		if err := setText(k.value(c), v); err != nil {
			return fmt.Errorf("environment %s=%q: %w", name, v, err)
		}
	}
	return nil
}

// Resolve makes paths absolute: DataDir and EngineFiles against base, the rest against DataDir. An empty DataDir is
// Home().
func (c *Config) Resolve(base string) error {
	switch {
	case c.DataDir == "":
		home, err := Home()
		if err != nil {
			return err
		}
		c.DataDir = home
	case !filepath.IsAbs(c.DataDir):
		c.DataDir = filepath.Join(base, c.DataDir)
	}
	if c.Genesis != "" && !filepath.IsAbs(c.Genesis) {
		c.Genesis = filepath.Join(c.DataDir, c.Genesis)
	}
	if c.Trust != "" && !filepath.IsAbs(c.Trust) {
		c.Trust = filepath.Join(c.DataDir, c.Trust)
	}
	if c.API.Socket != "" && !filepath.IsAbs(c.API.Socket) {
		c.API.Socket = filepath.Join(c.DataDir, c.API.Socket)
	}
	for _, f := range []*string{&c.P2P.Invitation, &c.P2P.SwarmKey} {
		if *f != "" && !filepath.IsAbs(*f) {
			*f = filepath.Join(c.DataDir, *f)
		}
	}
	for i, e := range c.EngineFiles {
		if !filepath.IsAbs(e) {
			c.EngineFiles[i] = filepath.Join(base, e)
		}
	}
	return nil
}

// Home is the data folder that commands use: BPI_HOME, or .bpi in the user's home folder.
func Home() (string, error) {
	if h := os.Getenv("BPI_HOME"); h != "" {
		return filepath.Abs(h)
	}
	h, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find the data folder: %w; set BPI_HOME", err)
	}
	return filepath.Join(h, ".bpi"), nil
}

// key is one setting of the schema.
type key struct {
	name  string // "p2p.listen_port"
	doc   string
	index []int // of the field, for reflect
}

// variable is the environment's name for it: BPI_P2P_LISTEN_PORT.
func (k key) variable() string {
	return "BPI_" + strings.ToUpper(strings.ReplaceAll(k.name, ".", "_"))
}

func (k key) value(c *Config) reflect.Value { return reflect.ValueOf(c).Elem().FieldByIndex(k.index) }

// keys lists the schema in file order.
func keys() []key {
	var out []key
	t := reflect.TypeFor[Config]()
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Type.Kind() != reflect.Struct {
			out = append(out, key{f.Tag.Get("toml"), f.Tag.Get("doc"), []int{i}})
			continue
		}
		for j := range f.Type.NumField() {
			g := f.Type.Field(j)
			out = append(out, key{f.Tag.Get("toml") + "." + g.Tag.Get("toml"), g.Tag.Get("doc"), []int{i, j}})
		}
	}
	return out
}

func setText(v reflect.Value, s string) error {
	switch v.Interface().(type) {
	case time.Duration:
		d, err := time.ParseDuration(s)
		if err != nil {
			return errors.New("want a duration, as 90s or 168h")
		}
		v.SetInt(int64(d))
		return nil
	case []string:
		list := []string{}
		for part := range strings.SplitSeq(s, ",") {
			if part = strings.TrimSpace(part); part != "" {
				list = append(list, part)
			}
		}
		v.Set(reflect.ValueOf(list))
		return nil
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(s)
	case reflect.Bool:
		b, err := strconv.ParseBool(s)
		if err != nil {
			return errors.New("want true or false")
		}
		v.SetBool(b)
	case reflect.Int:
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return errors.New("want a whole number")
		}
		v.SetInt(n)
	case reflect.Uint16, reflect.Uint32, reflect.Uint64:
		n, err := strconv.ParseUint(s, 10, v.Type().Bits())
		if err != nil {
			return fmt.Errorf("want a whole number of at most %d bits", v.Type().Bits())
		}
		v.SetUint(n)
	default:
		return fmt.Errorf("a %s cannot be set from the environment", v.Kind())
	}
	return nil
}

// Nearest is the key of the schema that looks most like name: the same last word first, then the fewest edits.
func Nearest(name string) string {
	best, bestScore := "", 1<<30
	last := name[strings.LastIndex(name, ".")+1:]
	for _, k := range keys() {
		score := 2 * edits(name, k.name)
		if l := edits(last, k.name[strings.LastIndex(k.name, ".")+1:]); 2*l+1 < score {
			score = 2*l + 1
		}
		if score < bestScore {
			best, bestScore = k.name, score
		}
	}
	return best
}

// edits is the Levenshtein distance of the first 64 bytes.
func edits(a, b string) int {
	a, b = a[:min(len(a), 64)], b[:min(len(b), 64)]
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diag := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			next := min(row[j]+1, row[j-1]+1, diag+cost)
			diag, row[j] = row[j], next
		}
	}
	return row[len(b)]
}

// lineOf finds the line on which a dotted key is written, or 0. It knows table headers and plain keys, which is what
// people write; for anything cleverer the message goes without a line.
func lineOf(text, dotted string) int {
	table := ""
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			end := strings.Index(line, "]")
			if end < 0 {
				continue
			}
			table = strings.Trim(line[:end], "[ ")
			if table == dotted {
				return n
			}
			continue
		}
		k, _, ok := strings.Cut(line, "=")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		k = strings.Trim(strings.TrimSpace(k), `"'`)
		if table != "" {
			k = table + "." + k
		}
		if k == dotted {
			return n
		}
	}
	return 0
}
